package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute puts the options of a command before its arguments, where
// urfave/cli wants them (it parses with package flag, which stops at the first
// argument). Options keep their order and their values, and so do arguments.
// What stands behind -- is never an option.
//
// An option that is not known is left to the parser to refuse; so is one at
// the end that lacks its value, which must not take an argument for it.
func permute(app *cli.App, args []string) []string {
	at := 1 + slices.IndexFunc(args[min(1, len(args)):], func(a string) bool { return !isOption(a) })
	if at == 0 {
		return args // no command
	}
	i := slices.IndexFunc(app.Commands, func(c *cli.Command) bool { return c.HasName(args[at]) })
	if i < 0 || len(app.Commands[i].Subcommands) > 0 {
		return args
	}
	head, rest := args[:at+1], args[at+1:]
	var options, arguments []string
	for len(rest) > 0 {
		arg := rest[0]
		rest = rest[1:]
		switch {
		case arg == "--":
			arguments = slices.Concat(arguments, rest)
			// It stays: an argument behind it may begin with a dash.
			return slices.Concat(head, options, []string{"--"}, arguments)
		case !isOption(arg):
			arguments = append(arguments, arg)
			continue
		}
		options = append(options, arg)
		if !takesNext(app.Commands[i].Flags, arg) {
			continue
		}
		if len(rest) == 0 {
			return slices.Concat(head, options)
		}
		options = append(options, rest[0])
		rest = rest[1:]
	}
	return slices.Concat(head, options, arguments)
}

// isOption tells an option from an argument, as package flag does: a single
// dash is an argument.
func isOption(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

// takesNext reports whether the value of an option is the next word.
func takesNext(flags []cli.Flag, option string) bool {
	name := strings.TrimPrefix(strings.TrimPrefix(option, "-"), "-")
	return slices.ContainsFunc(flags, func(f cli.Flag) bool {
		doc, ok := f.(cli.DocGenerationFlag)
		return ok && doc.TakesValue() && slices.Contains(f.Names(), name)
	})
}
