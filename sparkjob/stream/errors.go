package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What callers branch on, to be tested with [errors.Is]. The error that carries
// one of them keeps the server's own words.
var (
	// ErrUnreachable: no answer from the server within the retry budget.
	ErrUnreachable = errors.New("spark connect server unreachable")
	// ErrSessionExpired: the server no longer has the session this client
	// connected to, because nothing asked for it for an hour, because more than
	// 100 sessions were open, or because the server was restarted. Its queries
	// and temporary views are gone. Connect again and start them anew; their
	// checkpoints are not affected.
	ErrSessionExpired = errors.New("spark session expired")
	// ErrQueryNotFound: the session has no query of this id and run id.
	ErrQueryNotFound = errors.New("streaming query not found")
	// ErrNotActive: the call waits for a running query, and this one has ended.
	ErrNotActive = errors.New("streaming query not active")
)

// ServerError is an error that the Spark server answered with. Use [errors.As]
// to reach it.
type ServerError struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Class is the Java class of the exception, such as
	// org.apache.spark.sql.AnalysisException; empty if unknown.
	Class string
	// ErrorClass is Spark's name of the error, such as
	// TABLE_OR_VIEW_NOT_FOUND; empty if it has none.
	ErrorClass string
	// SQLState is the five-character SQLSTATE; empty if unknown.
	SQLState string
	// Message is what the server said, complete.
	Message string

	kind error // the sentinel, if any
}

// Error returns the first line of the message: what follows are plans and stacks.
func (e *ServerError) Error() string {
	if e.kind != nil {
		return e.kind.Error() + ": " + firstLine(e.Message)
	}
	return firstLine(e.Message)
}

// Unwrap gives the sentinel error that the answer stands for, if there is one.
func (e *ServerError) Unwrap() error { return e.kind }

// QueryException says why a query ended by itself. It is an error; use
// [errors.As] with a *QueryException to reach it.
type QueryException struct {
	// QueryID and RunID identify the query.
	QueryID, RunID string
	// Message is Spark's, complete, with the cause.
	Message string
	// ErrorClass is Spark's name of the error, such as STREAM_FAILED; empty if
	// it has none.
	ErrorClass string
	// StackTrace is the server's, empty if the server does not send one.
	StackTrace string
}

// Error returns the first line of the message, without Spark's name for the
// exception.
func (e *QueryException) Error() string {
	return strings.TrimPrefix(firstLine(e.Message), "org.apache.spark.sql.streaming.StreamingQueryException: ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSpace(line)
}

// translate turns what gRPC returned into this package's errors. An ended
// context comes first: it is the caller's own doing, and the server's words
// about it help nobody.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return contextError(ctx, err)
	}
	var known *ServerError
	if errors.As(err, &known) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch st.Code() {
	case codes.Canceled:
		if errors.Is(err, grpc.ErrClientConnClosing) { //nolint:staticcheck // the only way to tell
			return fmt.Errorf("the session is closed: %w", net.ErrClosed)
		}
		return fmt.Errorf("%w: %s", context.Canceled, st.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: %s", context.DeadlineExceeded, st.Message())
	}
	e := &ServerError{Code: st.Code(), Message: strings.TrimSpace(st.Message())}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			e.Class = info.GetReason()
			e.ErrorClass = info.GetMetadata()["errorClass"]
			e.SQLState = info.GetMetadata()["sqlState"]
			var classes []string // the exception's class and its parents
			if json.Unmarshal([]byte(info.GetMetadata()["classes"]), &classes) == nil && len(classes) > 0 {
				e.Class = classes[0]
			}
		}
	}
	if e.ErrorClass == "" {
		e.ErrorClass = errorClass(e.Message)
	}
	e.kind = kindOf(e)
	return e
}

// contextError reports the end of ctx, and what was the matter until then if
// that was not the end itself.
func contextError(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if status.Code(err) == codes.Unavailable {
		return fmt.Errorf("%w: %w: %s", cause, ErrUnreachable, status.Convert(err).Message())
	}
	return cause
}

// kindOf finds the sentinel for an answer. A 3.5 server has no field for it:
// the message is all there is.
func kindOf(e *ServerError) error {
	switch {
	case e.Code == codes.Unavailable:
		return ErrUnreachable
	case strings.HasPrefix(e.ErrorClass, "INVALID_HANDLE.SESSION"):
		return ErrSessionExpired
	case strings.Contains(e.Message, "Streaming query") && strings.Contains(e.Message, "is not found"):
		return ErrQueryNotFound
	}
	return nil
}

// errorClass reads Spark's name of an error from the message, which starts
// with it in brackets: "[TABLE_OR_VIEW_NOT_FOUND] The table …".
func errorClass(message string) string {
	start := strings.IndexByte(message, '[')
	end := strings.IndexByte(message, ']')
	if start < 0 || end < start {
		return ""
	}
	class := message[start+1 : end]
	for _, c := range class {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' {
			return ""
		}
	}
	return class
}

// isStreamingQuery tells whether the server refused to run a query because it
// reads a stream.
func isStreamingQuery(err error) bool {
	var answer *ServerError
	return errors.As(err, &answer) && strings.Contains(answer.Message, "Queries with streaming sources must be executed with writeStream.start()")
}
