package capi

import (
	"encoding/json"
	"regexp"
	"strings"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// seen is an object as it was observed. Its readers answer the zero value for
// a field that is absent or of another type than expected: a judge of what a
// cluster says must survive whatever a cluster says.
type seen map[string]any

func (s seen) at(path ...string) any {
	var value any = map[string]any(s)
	for _, key := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[key]
	}
	return value
}

func (s seen) text(path ...string) string {
	value, _ := s.at(path...).(string)
	return value
}

func (s seen) flag(path ...string) bool {
	value, _ := s.at(path...).(bool)
	return value
}

func (s seen) object(path ...string) seen {
	value, _ := s.at(path...).(map[string]any)
	return value
}

func (s seen) objects(path ...string) []seen {
	items, _ := s.at(path...).([]any)
	var found []seen
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			found = append(found, object)
		}
	}
	return found
}

// number reads a count. A missing count is not 0: a fresh MachineDeployment has
// no counters at all for its first seconds.
func (s seen) number(path ...string) (int64, bool) {
	switch value := s.at(path...).(type) {
	case int64:
		return value, true
	case int:
		return int64(value), true
	case int32:
		return int64(value), true
	case float64:
		if whole := int64(value); float64(whole) == value && whole > -1<<52 && whole < 1<<52 {
			return whole, true
		}
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole, true
		}
	}
	return 0, false
}

func (s seen) kind() string      { return s.text("kind") }
func (s seen) namespace() string { return s.text("metadata", "namespace") }
func (s seen) name() string      { return s.text("metadata", "name") }
func (s seen) uid() string       { return s.text("metadata", "uid") }
func (s seen) created() string   { return s.text("metadata", "creationTimestamp") }
func (s seen) deleting() bool    { return s.at("metadata", "deletionTimestamp") != nil }

func (s seen) label(key string) string { return s.text("metadata", "labels", key) }

func (s seen) annotation(key string) (string, bool) {
	value := s.at("metadata", "annotations", key)
	text, _ := value.(string)
	return text, value != nil
}

func (s seen) finalizers() []string {
	items, _ := s.at("metadata", "finalizers").([]any)
	var found []string
	for _, item := range items {
		if finalizer, ok := item.(string); ok {
			found = append(found, finalizer)
		}
	}
	return found
}

// controller is the owner reference that is marked as the controller.
func (s seen) controller() (seen, bool) {
	for _, owner := range s.objects("metadata", "ownerReferences") {
		if owner.flag("controller") {
			return owner, true
		}
	}
	return nil, false
}

// oldForm says whether a Cluster API object came through v1beta1.
func (s seen) oldForm() bool { return strings.HasSuffix(s.text("apiVersion"), "/v1beta1") }

// condition is one condition, of either form: severity exists in the v1beta1
// form alone.
type rolloutCondition struct {
	kind, status, reason, severity, message string
	since                                   string // lastTransitionTime, RFC 3339
}

func (c rolloutCondition) holds() bool { return c.status == "True" }

func rolloutConditions(items []seen) []rolloutCondition {
	found := make([]rolloutCondition, 0, len(items))
	for _, item := range items {
		if c := conditionOf(item); c.kind != "" {
			found = append(found, c)
		}
	}
	return found
}

func conditionOf(item seen) rolloutCondition {
	return rolloutCondition{
		kind: item.text("type"), status: item.text("status"), reason: item.text("reason"),
		severity: item.text("severity"), message: item.text("message"),
		since: item.text("lastTransitionTime"),
	}
}

// conditions are those of the v1beta2 contract: under status.conditions in a
// v1beta2 object, under status.v1beta2.conditions in a v1beta1 one (Cluster API
// 1.9 and later).
func (s seen) conditions() []rolloutCondition {
	if s.oldForm() {
		return rolloutConditions(s.objects("status", "v1beta2", "conditions"))
	}
	return rolloutConditions(s.objects("status", "conditions"))
}

// oldConditions are those of the v1beta1 contract: under status.conditions in a
// v1beta1 object, under status.deprecated.v1beta1.conditions in a v1beta2 one.
func (s seen) oldConditions() []rolloutCondition {
	if s.oldForm() {
		return rolloutConditions(s.objects("status", "conditions"))
	}
	return rolloutConditions(s.objects("status", "deprecated", "v1beta1", "conditions"))
}

func findCondition(list []rolloutCondition, kind string) (rolloutCondition, bool) {
	for _, c := range list {
		if c.kind == kind {
			return c, true
		}
	}
	return rolloutCondition{}, false
}

// condition looks a condition up under its v1beta2 name and, where the object
// has none of that contract, under its v1beta1 name.
func (s seen) condition(kind, oldKind string) (rolloutCondition, bool) {
	newer, older := []string{"status", "conditions"}, []string{"status", "deprecated", "v1beta1", "conditions"}
	if s.oldForm() {
		newer, older = []string{"status", "v1beta2", "conditions"}, newer
	}
	if c, ok := s.conditionAt(kind, newer...); ok || oldKind == "" {
		return c, ok
	}
	return s.conditionAt(oldKind, older...)
}

// conditionAt reads one condition alone.
func (s seen) conditionAt(kind string, path ...string) (rolloutCondition, bool) {
	items, _ := s.at(path...).([]any)
	for _, item := range items {
		if object, _ := item.(map[string]any); object != nil && object["type"] == kind {
			return conditionOf(object), true
		}
	}
	return rolloutCondition{}, false
}

// pausedByAnnotation mirrors util/annotations.HasPaused of Cluster API: the
// annotation pauses whatever its value is.
func (s seen) pausedByAnnotation() bool {
	_, paused := s.annotation(clusterv1.PausedAnnotation)
	return paused
}

var (
	// Reasons are CamelCase words of the providers' own choice, so an error can
	// only be told from a wait by the words that they are made of.
	errorReason = regexp.MustCompile(`(Fail(ed|ure)|Error|Invalid|NotFound|DoesNotExist|Denied|Unauthorized|Forbidden|Exceeded|Insufficient|Unsupported|Conflict|Misconfigured|Unreachable)`)
	errorWords  = regexp.MustCompile(`(?i)\b(errors?|fail(s|ed|ing|ures?)?|invalid|not found|denied|unauthori[sz]ed|not authori[sz]ed|forbidden|exceed(s|ed)?|insufficient|quota|unsupported|not supported|cannot|could not|couldn't|unable to|does not exist|do not exist|no such|rejected|refused|timed out)\b`)
)

// tellsError says whether an unmet condition speaks of an error rather than of
// a wait. Cluster API's summaries carry one line for each condition behind
// them, as in "* VMProvisioned: …", so the message is read line by line.
func (c rolloutCondition) tellsError() bool {
	if c.holds() {
		return false
	}
	if c.severity == string(clusterv1.ConditionSeverityError) || reasonTellsError(c.reason) {
		return true
	}
	return len(errorLines(c.message)) > 0
}

func reasonTellsError(reason string) bool {
	return !strings.HasPrefix(reason, "Waiting") && errorReason.MatchString(reason)
}

// errorLines are the lines of a message that speak of an error.
func errorLines(message string) []string {
	var found []string
	for _, line := range strings.Split(message, "\n") {
		line = strings.TrimLeft(line, " *\t")
		words := line
		if before, after, ok := strings.Cut(line, ": "); ok && !strings.Contains(before, " ") {
			words = after // the part before names a condition
		}
		if strings.HasPrefix(words, "Waiting") {
			continue
		}
		if errorWords.MatchString(words) || errorReason.MatchString(words) {
			found = append(found, line)
		}
	}
	return found
}

// oneLine folds a message of several lines into one.
func oneLine(message string) string {
	var parts []string
	for _, line := range strings.Split(message, "\n") {
		if line = strings.TrimLeft(strings.TrimSpace(line), "* "); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.ReplaceAll(strings.Join(parts, "; "), ":; ", ": ")
}

// words is what a condition says in one line, the reason in brackets unless it
// says nothing that "not ready" does not.
func (c rolloutCondition) words() string {
	message := oneLine(c.message)
	switch {
	case message == "":
		return c.reason
	case c.reason == "" || c.reason == clusterv1.NotReadyReason:
		return message
	}
	return message + " (" + c.reason + ")"
}
