//go:build race

package apply_test

// raceDetector tells whether the tests run under the race detector.
const raceDetector = true
