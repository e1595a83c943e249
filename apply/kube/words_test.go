package kube_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nodepool/apply/kube"
)

const canary = "CANARY"

func status(code int32, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) error {
	s := metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}
	if causes != nil {
		s.Details = &metav1.StatusDetails{Causes: causes}
	}
	return &apierrors.StatusError{ErrStatus: s}
}

func cause(field, message string) metav1.StatusCause {
	return metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: field, Message: message}
}

func TestWords(t *testing.T) {
	denied := `admission webhook "validation.example.com" denied the request: `
	tests := map[string]struct {
		err  error
		sent any
		want string
	}{
		"a quoted value": {
			err:  status(422, "Invalid", "…", cause("spec.version", `Invalid value: "CANARY": must be a semantic version`)),
			want: "Invalid: spec.version: must be a semantic version (FieldValueInvalid)",
		},
		"escaped quotes": {
			err:  status(422, "Invalid", "…", cause("spec.version", `Invalid value: "a\": CANARY: \"b": must be a semantic version`)),
			want: "Invalid: spec.version: must be a semantic version (FieldValueInvalid)",
		},
		"a number": {
			err:  status(422, "Invalid", "…", cause("spec.replicas", `Invalid value: -33333: must not be -33333`)),
			want: "Invalid: spec.replicas: must not be … (FieldValueInvalid)",
		},
		"a JSON object": {
			err:  status(422, "Invalid", "…", cause("spec", `Invalid value: {"a":"CANARY: }","b":[1]}: is immutable`)),
			want: "Invalid: spec: is immutable (FieldValueInvalid)",
		},
		"a Go value": {
			err:  status(422, "Invalid", "…", cause("spec", `Invalid value: v1beta2.AWSMachineTemplate{Name:"x}", Data:[]string{"CANARY"}, P:(*int)(0xc000)}: is immutable`)),
			want: "Invalid: spec: is immutable (FieldValueInvalid)",
		},
		"a map": {
			err:  status(422, "Invalid", "…", cause("spec", "Invalid value: map[string]interface {}{\"a\":\"CANARY\"}: is immutable")),
			want: "Invalid: spec: is immutable (FieldValueInvalid)",
		},
		"a value printed bare, whose end nobody knows": {
			err:  status(422, "Invalid", "…", cause("spec", "Invalid value: &Template{Name:x,Data:pass}: CANARY,}: is immutable")),
			want: "Invalid: spec: Invalid value … (FieldValueInvalid)",
		},
		"a value over many lines": {
			err:  status(422, "Invalid", "…", cause("spec", "Invalid value: kind: Secret\ndata:\n  a: CANARY\n: is immutable")),
			want: "Invalid: spec: Invalid value … (FieldValueInvalid)",
		},
		"a broken quote": {
			err:  status(422, "Invalid", "…", cause("spec", `Invalid value: "CANARY`)),
			want: "Invalid: spec: Invalid value … (FieldValueInvalid)",
		},
		"the value again in the detail": {
			err:  status(422, "Invalid", "…", cause("spec.at", `Invalid value: "CANARY": spec.at in body must be of type date-time: "CANARY"`)),
			want: `Invalid: spec.at: spec.at in body must be of type date-time: "…" (FieldValueInvalid)`,
		},
		"a difference": {
			err:  status(422, "Invalid", "…", cause("spec", "Invalid value: {}: field is immutable. Diff: v1beta2.Spec{\n- A: \"\",\n+ A: \"CANARY\",\n}")),
			want: "Invalid: spec: field is immutable. … (FieldValueInvalid)",
		},
		"other field errors": {
			err: status(422, "Invalid", "…",
				cause("spec.a", `Unsupported value: "CANARY": supported values: "x", "y"`),
				cause("spec.b", `Duplicate value: "CANARY"`),
				cause("spec.c", `Not found: "CANARY"`),
				cause("spec.d", `Required value`)),
			want: `Invalid: spec.a: supported values: "x", "y" (FieldValueInvalid); spec.b: Duplicate value (FieldValueInvalid); ` +
				`spec.c: Not found (FieldValueInvalid); spec.d: Required value (FieldValueInvalid)`,
		},
		"a message alone": {
			err:  status(422, "Invalid", `Thing "x" is invalid: [spec.a: Invalid value: "CANARY": must be a, spec.b: Invalid value: "CANARY": must be b]`),
			want: `Invalid: Thing "x" is invalid: [spec.a: must be a, spec.b: must be b]`,
		},
		"a webhook with causes": {
			err:  status(403, "Invalid", denied+`Thing "x" is invalid: spec: Invalid value: "CANARY": no`, cause("spec", `Invalid value: "CANARY": no`)),
			want: `Invalid: admission webhook "validation.example.com" denied the request: spec: no (FieldValueInvalid)`,
		},
		"a webhook that quotes a whole object": {
			err:  status(400, "", denied+"cannot change v1beta1.Thing{Spec:\n\"CANARY\"} so"),
			want: `admission webhook "validation.example.com" denied the request: cannot change …`,
		},
		"a webhook that quotes a file of the object sent": {
			err: status(403, "Forbidden", denied+"the line\nexport  TOKEN=CANARY-CANARY of a file is forbidden"),
			sent: map[string]any{"files": []any{map[string]any{
				"path": "/a", "content": "#!/bin/sh\nexport  TOKEN=CANARY-CANARY\n",
			}}},
			want: `Forbidden: admission webhook "validation.example.com" denied the request: the line … of a file is forbidden`,
		},
		"a short value in quotes": {
			err:  status(500, "InternalError", `conversion webhook failed: time: invalid duration "CANARY"`),
			sent: []any{"CANARY"},
			want: `InternalError: conversion webhook failed: time: invalid duration …`,
		},
		"a secret within another": {
			err:  status(403, "", denied+"CANARYCANARY-more"),
			sent: map[string]any{"a": "CANARYCANARY", "b": "CANARYCANARY-more"},
			want: `admission webhook "validation.example.com" denied the request: …`,
		},
		"terminal sequences": {
			err:  status(400, "BadRequest", "a\x1b[31mred\x1b[0m \x1b]0;title\x07b\r\nc\u202ed\u200be\u009b1m"),
			want: "BadRequest: ared b cde1m",
		},
		"a failed test": {
			err:  apierrors.NewGenericServerResponse(422, "patch", metav1.SchemeGroupVersion.WithResource("").GroupResource(), "", "testing value /a failed", 0, false),
			want: "Invalid: the patch does not fit the object as it is now",
		},
		"an unknown field": {
			err:  status(400, "BadRequest", `Thing in version "v1" cannot be handled: strict decoding error: unknown field "spec.misspelt"`),
			want: `BadRequest: Thing in version "v1" cannot be handled: strict decoding error: unknown field "spec.misspelt"`,
		},
		"no status": {err: errors.New("x509: certificate signed by unknown authority"), want: "x509: certificate signed by unknown authority"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := kube.Words(test.err, test.sent)
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if strings.Contains(got, canary) {
				t.Errorf("the value leaks: %s", got)
			}
		})
	}
}

func TestWordsAreBounded(t *testing.T) {
	long := strings.Repeat("ä ", 5000)
	if n := utf8.RuneCountInString(kube.Words(status(400, "BadRequest", long), nil)); n != 600 {
		t.Errorf("%d runes, want 600", n)
	}
	secret := strings.Repeat("s3cr3t", 200)
	if got := kube.Words(status(400, "BadRequest", strings.Repeat("x", 500)+" "+secret), map[string]any{"a": secret}); strings.Contains(got, "s3cr3t") {
		t.Errorf("the beginning of a secret is left by the bound: %s", got)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[31mb\u202e\n")
	f.Add("\x1b]8;;http://x\x1b\\y")
	f.Fuzz(func(t *testing.T, text string) {
		got := kube.Printable(text)
		for _, r := range got {
			if r != ' ' && !unicode.IsPrint(r) {
				t.Errorf("%q holds %U", got, r)
			}
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add(`": x`, `{`)
	f.Add(`\`, `}: is immutable`)
	f.Fuzz(func(t *testing.T, before, after string) {
		secret := before + "CANARYCANARY" + after
		// Whatever stands around it, a value printed as field errors print it
		// is taken out.
		err := apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("Thing").GroupKind(), "x", invalid(secret))
		if got := kube.Words(err, nil); strings.Contains(got, "CANARYCANARY") {
			t.Errorf("%q leaks in %s", secret, got)
		}
	})
}

// invalid makes field errors that quote a value as a string, in an object and
// in a Go value.
func invalid(secret string) field.ErrorList {
	at := field.NewPath("spec")
	return field.ErrorList{
		field.Invalid(at, secret, "must be better"),
		field.Invalid(at, map[string]any{"a": []any{secret}}, "must be better"),
		field.Invalid(at, struct {
			S string
			C chan int // cannot be JSON, so it is printed as Go does
		}{S: secret}, "must be better"),
		field.NotSupported(at, secret, []string{"a"}),
		field.Duplicate(at, secret),
	}
}
