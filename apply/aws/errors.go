package aws

import (
	"context"
	"errors"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
)

// The codes by which AWS refuses: docs.aws.amazon.com/AWSEC2/latest/APIReference
// /errors-overview.html, and the common errors of its JSON services.
var (
	denied = []string{"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired"}
	stale  = []string{"ExpiredToken", "ExpiredTokenException", "RequestExpired", "AuthFailure", "InvalidClientTokenId",
		"UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidGrantException", "UnauthorizedException"}
)

// code keeps what came over the network to what codes are made of.
var codeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.:_-]{0,63}$`)

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) && codeForm.MatchString(api.ErrorCode()) {
		return api.ErrorCode()
	}
	return ""
}

// reason says in one line why a request gave nothing. It never holds words of
// the error, which may quote what was sent, but for AWS's code.
func reason(ctx context.Context, operation string, err error) string {
	code := codeOf(err)
	throttled := retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err)
	switch {
	case throttled.Bool():
		return "AWS throttles the requests (" + code + ")"
	case slices.Contains(denied, code):
		return "the AWS credentials may not " + operation
	case slices.Contains(stale, code):
		return "AWS refuses the credentials (" + code + "); they may have expired"
	case code != "":
		return "AWS answers " + operation + " with " + code
	}
	return unavailable(ctx, "AWS cannot be reached", err)
}

func unavailable(ctx context.Context, what string, err error) string {
	switch code := codeOf(err); {
	case code != "":
		return what + " (" + code + ")"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "AWS did not answer in time"
	case ctx.Err() != nil:
		return "the question was given up"
	}
	return what
}
