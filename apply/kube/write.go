package kube

import (
	"context"
	"encoding/json"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"nodepool/apply"
	"nodepool/plan"
	"nodepool/plan/capi"
)

// Create makes obj as it is; see apply.Cluster. It is sent once.
func (c *Cluster) Create(ctx context.Context, obj *unstructured.Unstructured, mode apply.Mode) error {
	ref := capi.RefOf(obj)
	k, err := c.kinds.find(ctx, schema.GroupKind{Group: ref.Group, Kind: ref.Kind}, obj.GetAPIVersion())
	if err != nil {
		return unsent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience.write)
	defer cancel()
	options := &metav1.CreateOptions{FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict, DryRun: dryRun(mode)}
	result := c.requests.Post().AbsPath(k.path(ref.Namespace, "")...).
		SpecificallyVersionedParams(options, metav1.ParameterCodec, metav1.SchemeGroupVersion).
		Body(obj).MaxRetries(0).Do(ctx)
	if err := result.Error(); err != nil {
		return writeError(err, obj.Object["spec"])
	}
	made := &unstructured.Unstructured{}
	if result.Into(made) == nil { // an answer that cannot be read takes nothing back
		obj.Object = made.Object
	}
	return nil
}

// Patch sends a JSON Patch; see apply.Cluster. It is sent once.
func (c *Cluster) Patch(ctx context.Context, target plan.Ref, apiVersion string, jsonPatch []byte, mode apply.Mode) error {
	k, err := c.kinds.find(ctx, schema.GroupKind{Group: target.Group, Kind: target.Kind}, apiVersion)
	if err != nil {
		return unsent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience.write)
	defer cancel()
	options := &metav1.PatchOptions{FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict, DryRun: dryRun(mode)}
	err = c.requests.Patch(types.JSONPatchType).AbsPath(k.path(target.Namespace, target.Name)...).
		SpecificallyVersionedParams(options, metav1.ParameterCodec, metav1.SchemeGroupVersion).
		Body(jsonPatch).MaxRetries(0).Do(ctx).Error()
	var operations any
	if json.Unmarshal(jsonPatch, &operations) != nil {
		operations = string(jsonPatch)
	}
	return writeError(err, values(operations))
}

// Delete removes target; see apply.Cluster. It is sent once.
func (c *Cluster) Delete(ctx context.Context, target plan.Ref, apiVersion, uid, resourceVersion string, mode apply.Mode) error {
	k, err := c.kinds.find(ctx, schema.GroupKind{Group: target.Group, Kind: target.Kind}, apiVersion)
	if err != nil {
		return unsent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience.write)
	defer cancel()
	options := &metav1.DeleteOptions{DryRun: dryRun(mode)}
	options.Preconditions = metav1.NewUIDPreconditions(uid)
	options.Preconditions.ResourceVersion = &resourceVersion
	err = c.requests.Delete().AbsPath(k.path(target.Namespace, target.Name)...).
		Body(options).MaxRetries(0).Do(ctx).Error()
	return writeError(err, nil)
}

// values gives the values of a JSON Patch, without its paths and operations.
func values(operations any) any {
	list, ok := operations.([]any)
	if !ok {
		return operations
	}
	var out []any
	for _, o := range list {
		if o, ok := o.(map[string]any); ok {
			out = append(out, o["value"])
		}
	}
	return out
}

func dryRun(mode apply.Mode) []string {
	if mode == apply.DryRun {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// unsent gives the error of a write that was not sent since its kind could not
// be looked up.
func unsent(err error) error {
	out := &apply.WriteError{Outcome: apply.Unknown, Words: words(err), Err: err}
	if notServed(err) {
		out.Outcome = apply.Refused
	}
	return out
}

// writeError tells refusals from writes that may have happened: the server, or
// a proxy before it, answers with a 4xx what it did not carry out, save a
// time-out and an overload, which may come after it. All else is unknown: a
// failed webhook, a lost connection, an end of patience.
func writeError(err error, sent any) error {
	if err == nil {
		return nil
	}
	out := &apply.WriteError{Outcome: apply.Unknown, Words: wordsWithout(err, sent), Err: err}
	if status, ok := statusOf(err); ok && status.Code >= 400 && status.Code < 500 &&
		status.Code != http.StatusRequestTimeout && status.Code != http.StatusTooManyRequests {
		out.Outcome = apply.Refused
	}
	return out
}
