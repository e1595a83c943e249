package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Duration is a span of time that is never negative and of whole seconds,
// because Cluster API stores the drain timeouts as a count of seconds in an
// int32 (v1beta2, nodeDrainTimeoutSeconds and its siblings). Its text is as
// [time.Duration.String] writes it: 15m is "15m0s".
type Duration time.Duration

const maxDuration = math.MaxInt32 * time.Second

// ParseDuration reads a duration as Go writes them: 90s, 10m, 1h30m. It
// refuses what is negative, has fractions of a second, or is more seconds
// than an int32 holds.
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s is not a duration", quote(s))
	case d < 0:
		return 0, fmt.Errorf("%s is negative", quote(s))
	case d%time.Second != 0:
		return 0, fmt.Errorf("%s is not of whole seconds", quote(s))
	case d > maxDuration:
		return 0, fmt.Errorf("%s is longer than the %d seconds that Cluster API can store", quote(s), math.MaxInt32)
	}
	return Duration(d), nil
}

// Std is the same span as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String is the canonical text, such as 15m0s.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the canonical text as a JSON string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a JSON string by the rules of [ParseDuration].
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("want a duration in a string, such as \"10m\", found %s", data)
	}
	parsed, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
