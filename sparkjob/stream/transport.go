package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// transport is the pair of gRPC interceptors under every call of a session,
// spark-connect-go's and ours. It
//   - puts the chosen session id into each request, because spark-connect-go
//     makes up its own, and that one back into each answer, because
//     spark-connect-go compares them;
//   - repeats calls that did not reach the server;
//   - answers for the server where a DataFrame is only to be wrapped or
//     unwrapped, see frame.go.
type transport struct {
	sessionID string
	budget    time.Duration // how long a call is repeated
}

func (t *transport) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	theirs := swapSessionID(req, t.sessionID)
	err := t.retry(ctx, func() error { return invoke(ctx, method, req, reply, cc, opts...) })
	swapSessionID(reply, theirs)
	return err
}

func (t *transport) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if local, ok := ctx.Value(localCallKey{}).(localCall); ok && method == executePlanMethod {
		return &localStream{ctx: ctx, call: local}, nil
	}
	if desc.ClientStreams {
		return open(ctx, desc, cc, method, opts...)
	}
	return &retryingStream{
		transport: t,
		ctx:       ctx,
		open:      func() (grpc.ClientStream, error) { return open(ctx, desc, cc, method, opts...) },
	}, nil
}

// retry repeats call while the server cannot be reached, at growing intervals,
// for at most the budget.
func (t *transport) retry(ctx context.Context, call func() error) error {
	if t.budget <= 0 {
		return call()
	}
	intervals := backoff.NewExponentialBackOff()
	intervals.InitialInterval = 50 * time.Millisecond
	intervals.MaxInterval = time.Second
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = call()
		if last != nil && status.Code(last) != codes.Unavailable {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(intervals), backoff.WithMaxElapsedTime(t.budget))
	if err == nil {
		return nil
	}
	return last // rather than the end of ctx, which the caller knows anyway
}

// retryingStream is a call with one request and a stream of answers that is
// repeated until the first answer. A failure to open the call is always safe
// to repeat: the request has not been read. Once it was sent, only a request
// without an effect of its own is.
type retryingStream struct {
	grpc.ClientStream
	transport *transport
	ctx       context.Context
	open      func() (grpc.ClientStream, error)

	request  any
	theirs   string // the session id that the request came with
	answered bool
}

func (r *retryingStream) SendMsg(m any) error {
	r.request = m
	r.theirs = swapSessionID(m, r.transport.sessionID)
	return r.transport.retry(r.ctx, r.connect)
}

func (r *retryingStream) connect() error {
	var err error
	if r.ClientStream, err = r.open(); err != nil {
		return err
	}
	// io.EOF says that the call has ended already, and RecvMsg will say how.
	if err := r.ClientStream.SendMsg(r.request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return r.ClientStream.CloseSend()
}

func (r *retryingStream) CloseSend() error { return nil } // connect has done it

func (r *retryingStream) RecvMsg(m any) error {
	err := r.ClientStream.RecvMsg(m)
	if status.Code(err) == codes.Unavailable && !r.answered && r.transport.budget > 0 && repeatable(r.request) {
		err = r.transport.retry(r.ctx, func() error {
			if err := r.connect(); err != nil {
				return err
			}
			return r.ClientStream.RecvMsg(m)
		})
	}
	if err != nil {
		return err
	}
	r.answered = true
	swapSessionID(m, r.theirs)
	return nil
}

func (r *retryingStream) Context() context.Context { return r.ctx }

func (r *retryingStream) Header() (metadata.MD, error) {
	if r.ClientStream == nil {
		return nil, errors.New("reading a call's header before its request was sent")
	}
	return r.ClientStream.Header()
}

func (r *retryingStream) Trailer() metadata.MD {
	if r.ClientStream == nil {
		return nil
	}
	return r.ClientStream.Trailer()
}

// repeatable tells whether a request may be sent again after it was perhaps
// executed: a query, and the commands whose repetition changes nothing. SQL
// commands, writes and the start of a query are not.
func repeatable(request any) bool {
	m, ok := request.(proto.Message)
	if !ok {
		return false
	}
	p, ok := submessage(m.ProtoReflect(), "plan")
	if !ok {
		return true // not an ExecutePlanRequest: asks, does not do
	}
	if _, ok := submessage(p, "root"); ok {
		return true
	}
	c, ok := submessage(p, "command")
	if !ok {
		return false
	}
	for _, name := range []protoreflect.Name{"create_dataframe_view", "streaming_query_command", "streaming_query_manager_command"} {
		if _, ok := submessage(c, name); ok {
			return true
		}
	}
	return false
}

// submessage gives the message in the named field of m, if it is set.
func submessage(m protoreflect.Message, name protoreflect.Name) (protoreflect.Message, bool) {
	field := m.Descriptor().Fields().ByName(name)
	if field == nil || field.Message() == nil || !m.Has(field) {
		return nil, false
	}
	return m.Get(field).Message(), true
}

// swapSessionID sets the session id of a request or an answer and returns the
// one it had.
func swapSessionID(message any, id string) string {
	m, ok := message.(proto.Message)
	if !ok {
		return ""
	}
	r := m.ProtoReflect()
	field := r.Descriptor().Fields().ByName("session_id")
	if field == nil {
		return ""
	}
	had := r.Get(field).String()
	r.Set(field, protoreflect.ValueOfString(id))
	return had
}

// localCallKey is the context key of a [localCall].
type localCallKey struct{}

// localCall answers an ExecutePlan request in the server's place: it returns
// the only answer, or nil for none.
type localCall func(request proto.Message) (proto.Message, error)

// localStream is a gRPC stream that a localCall answers.
type localStream struct {
	ctx    context.Context
	call   localCall
	answer proto.Message
}

func (l *localStream) SendMsg(m any) error {
	request, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("sending a %T, which is no protobuf message", m)
	}
	var err error
	if l.answer, err = l.call(request); err != nil || l.answer == nil {
		return err
	}
	swapSessionID(l.answer, swapSessionID(request, ""))
	return nil
}

func (l *localStream) RecvMsg(m any) error {
	if l.answer == nil {
		return io.EOF
	}
	proto.Merge(m.(proto.Message), l.answer)
	l.answer = nil
	return nil
}

func (l *localStream) CloseSend() error             { return nil }
func (l *localStream) Context() context.Context     { return l.ctx }
func (l *localStream) Header() (metadata.MD, error) { return nil, nil }
func (l *localStream) Trailer() metadata.MD         { return nil }
