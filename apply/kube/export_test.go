package kube

// Words and Printable are tested by themselves: what they must keep out is
// easier to plant in them than in a server.
var (
	Words     = wordsWithout
	Printable = printable
)
