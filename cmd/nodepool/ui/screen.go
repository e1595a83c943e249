package ui

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"

	tea "charm.land/bubbletea/v2"

	"nodepool/plan/render"
)

// Screen shows one text that changes, on the whole of a terminal. What it
// showed last stays behind when it is closed. Bubble Tea draws it.
type Screen struct {
	out     io.Writer
	program *tea.Program
	over    sync.WaitGroup

	mu            sync.Mutex // guards all below
	text          func(w io.Writer, columns int) error
	columns, rows int
}

// NewScreen takes the terminal behind w over, which has so many columns and
// rows until it tells otherwise.
func NewScreen(w io.Writer, columns, rows int) *Screen {
	s := &Screen{out: w, columns: columns, rows: rows}
	options := []tea.ProgramOption{tea.WithOutput(w), tea.WithInput(nil), tea.WithoutSignalHandler()}
	if columns > 0 && rows > 0 {
		options = append(options, tea.WithWindowSize(columns, rows))
	}
	s.program = tea.NewProgram(s, options...)
	s.over.Go(func() { _, _ = s.program.Run() }) // what cannot be drawn is dropped
	return s
}

// Show shows a text in the place of the one before. It is written anew where
// the terminal's width changes.
func (s *Screen) Show(text func(w io.Writer, columns int) error) {
	s.mu.Lock()
	s.text = text
	s.mu.Unlock()
	s.program.Send(redraw{})
}

// Close gives the terminal back and leaves the last text there.
func (s *Screen) Close() {
	s.program.Quit()
	s.over.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text != nil {
		_ = s.text(s.out, s.columns)
	}
}

// Init implements tea.Model.
func (s *Screen) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (s *Screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if size, ok := msg.(tea.WindowSizeMsg); ok {
		s.mu.Lock()
		s.columns, s.rows = size.Width, size.Height
		s.mu.Unlock()
	}
	return s, nil
}

// View implements tea.Model.
func (s *Screen) View() tea.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	view := tea.NewView("")
	view.AltScreen = true
	if s.text == nil {
		return view
	}
	var b bytes.Buffer
	if err := s.text(&b, s.columns); err != nil {
		return view
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if s.rows > 1 && len(lines) > s.rows {
		more := len(lines) - s.rows + 1
		lines = append(lines[:s.rows-1], fmt.Sprintf("… and %s more: a higher terminal shows them", count(more, "line")))
	}
	if s.columns > 0 {
		for i := range lines {
			lines[i] = render.Truncate(lines[i], s.columns)
		}
	}
	view.SetContent(strings.Join(lines, "\n"))
	return view
}
