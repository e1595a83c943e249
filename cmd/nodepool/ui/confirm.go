package ui

import (
	"errors"
	"io"
	"strings"
)

// maxAnswer bounds what is read for an answer, in bytes.
const maxAnswer = 1024

// Confirm writes question and reads one line. Only the word "yes" confirms;
// the end of the input does not. Nothing behind the line is read. The error is
// that of in or out.
func Confirm(in io.Reader, out io.Writer, question string) (bool, error) {
	if _, err := io.WriteString(out, question); err != nil {
		return false, err
	}
	var line []byte
	for b := make([]byte, 1); len(line) < maxAnswer; {
		n, err := in.Read(b)
		if n > 0 {
			if b[0] == '\n' {
				break
			}
			line = append(line, b[0])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
	}
	return strings.TrimSpace(string(line)) == "yes", nil
}
