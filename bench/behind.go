package main

// behind says what stands between a row and its aim, by the row's work and, where
// the same work stands against several, " against " and that. It is shown where
// the aim is missed, and kept by hand: a row that has missed its aim without a
// text here is named when the report is written.
var behind = map[string]string{
	"apply of one pool, from the approval to the patch": "it looks again at what was approved before it writes, takes the lock of the pool, and writes its journal before and after each write",
}

// Behind gives the text for a row; empty when there is none.
func (r Row) Behind() string {
	if text := behind[r.Work+" against "+r.Against]; text != "" {
		return text
	}
	return behind[r.Work]
}
