package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// The protocol. spark-connect-go keeps its generated types internal, and a
// second generated copy of the same .proto files in one binary collides in
// protobuf's global registry. So messages are described by the structs below,
// in protobuf's JSON form, and become messages of the types that
// spark-connect-go has registered. protojson refuses a field that the protocol
// does not have.

const (
	service           = "/spark.connect.SparkConnectService/"
	executePlanMethod = service + "ExecutePlan"
	analyzePlanMethod = service + "AnalyzePlan"
	configMethod      = service + "Config"
)

// caller is what every request says about who asks.
type caller struct {
	SessionID   string      `json:"session_id"`
	UserContext userContext `json:"user_context"`
	ClientType  string      `json:"client_type"`
}

type userContext struct {
	UserID string `json:"user_id"`
}

type executeRequest struct {
	caller
	Plan plan `json:"plan"`
}

type plan struct {
	Root    *relation `json:"root,omitempty"`
	Command *command  `json:"command,omitempty"`
}

type relation struct {
	Read    *read     `json:"read,omitempty"`
	SQL     *sqlQuery `json:"sql,omitempty"`
	Catalog *catalog  `json:"catalog,omitempty"`
}

type read struct {
	NamedTable  *namedTable `json:"named_table,omitempty"`
	DataSource  *dataSource `json:"data_source,omitempty"`
	IsStreaming bool        `json:"is_streaming,omitempty"`
}

type namedTable struct {
	Name    string            `json:"unparsed_identifier"`
	Options map[string]string `json:"options,omitempty"`
}

type dataSource struct {
	Format  string            `json:"format,omitempty"`
	Schema  string            `json:"schema,omitempty"`
	Options map[string]string `json:"options,omitempty"`
	Paths   []string          `json:"paths,omitempty"`
}

type sqlQuery struct {
	Query string `json:"query"`
}

type catalog struct {
	DropTempView *viewName `json:"drop_temp_view,omitempty"`
}

type viewName struct {
	Name string `json:"view_name"`
}

type command struct {
	SQL        *sqlCommand     `json:"sql_command,omitempty"`
	CreateView *createView     `json:"create_dataframe_view,omitempty"`
	Start      *startCommand   `json:"write_stream_operation_start,omitempty"`
	Query      *queryCommand   `json:"streaming_query_command,omitempty"`
	Manager    *managerCommand `json:"streaming_query_manager_command,omitempty"`
}

type sqlCommand struct {
	SQL string `json:"sql"`
}

type createView struct {
	Input   json.RawMessage `json:"input"`
	Name    string          `json:"name"`
	Replace bool            `json:"replace"`
}

type startCommand struct {
	Input              json.RawMessage   `json:"input"`
	Format             string            `json:"format,omitempty"`
	Options            map[string]string `json:"options,omitempty"`
	PartitionBy        []string          `json:"partitioning_column_names,omitempty"`
	ProcessingTime     string            `json:"processing_time_interval,omitempty"`
	AvailableNow       bool              `json:"available_now,omitempty"`
	Once               bool              `json:"once,omitempty"`
	ContinuousInterval string            `json:"continuous_checkpoint_interval,omitempty"`
	OutputMode         string            `json:"output_mode,omitempty"`
	QueryName          string            `json:"query_name,omitempty"`
	Path               string            `json:"path,omitempty"`
	TableName          string            `json:"table_name,omitempty"`
}

type queryCommand struct {
	QueryID             instanceID    `json:"query_id"`
	Status              bool          `json:"status,omitempty"`
	LastProgress        bool          `json:"last_progress,omitempty"`
	RecentProgress      bool          `json:"recent_progress,omitempty"`
	Stop                bool          `json:"stop,omitempty"`
	ProcessAllAvailable bool          `json:"process_all_available,omitempty"`
	Exception           bool          `json:"exception,omitempty"`
	Explain             *explain      `json:"explain,omitempty"`
	AwaitTermination    *awaitTimeout `json:"await_termination,omitempty"`
}

type instanceID struct {
	ID    string `json:"id"`
	RunID string `json:"run_id"`
}

type explain struct {
	Extended bool `json:"extended"`
}

type awaitTimeout struct {
	Milliseconds int64 `json:"timeout_ms"`
}

type managerCommand struct {
	Active              bool          `json:"active,omitempty"`
	GetQuery            string        `json:"get_query,omitempty"`
	AwaitAnyTermination *awaitTimeout `json:"await_any_termination,omitempty"`
	ResetTerminated     bool          `json:"reset_terminated,omitempty"`
}

// answer is what of an ExecutePlanResponse concerns this package. The answers
// to one request are merged into one of these.
type answer struct {
	SQL *struct {
		Relation json.RawMessage `json:"relation"`
	} `json:"sql_command_result"`
	Started *struct {
		QueryID instanceID `json:"query_id"`
		Name    string     `json:"name"`
	} `json:"write_stream_operation_start_result"`
	Query   queryResult   `json:"streaming_query_command_result"`
	Manager managerResult `json:"streaming_query_manager_command_result"`
}

type queryResult struct {
	Status *struct {
		Message         string `json:"status_message"`
		IsDataAvailable bool   `json:"is_data_available"`
		IsTriggerActive bool   `json:"is_trigger_active"`
		IsActive        bool   `json:"is_active"`
	} `json:"status"`
	Progress struct {
		JSON []string `json:"recent_progress_json"`
	} `json:"recent_progress"`
	Explain struct {
		Result string `json:"result"`
	} `json:"explain"`
	Exception struct {
		Message    string `json:"exception_message"`
		ErrorClass string `json:"error_class"`
		StackTrace string `json:"stack_trace"`
	} `json:"exception"`
	AwaitTermination struct {
		Terminated bool `json:"terminated"`
	} `json:"await_termination"`
}

type managerResult struct {
	Active struct {
		Queries []queryInstance `json:"active_queries"`
	} `json:"active"`
	Query               *queryInstance `json:"query"`
	AwaitAnyTermination struct {
		Terminated bool `json:"terminated"`
	} `json:"await_any_termination"`
}

type queryInstance struct {
	ID   instanceID `json:"id"`
	Name string     `json:"name"`
}

// newMessage makes an empty message of a type of the spark.connect protocol.
func newMessage(name protoreflect.Name) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("spark.connect").Append(name))
	if err != nil {
		return nil, fmt.Errorf("finding the protocol's %s among spark-connect-go's types: %w", name, err)
	}
	return t.New().Interface(), nil
}

// encode makes a message out of its JSON description.
func encode(name protoreflect.Name, description any) (proto.Message, error) {
	text, err := json.Marshal(description)
	if err != nil {
		return nil, fmt.Errorf("describing a %s: %w", name, err)
	}
	m, err := newMessage(name)
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("building a %s: %w", name, err)
	}
	return m, nil
}

// decode reads of a message what v asks for.
func decode(m proto.Message, v any) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	return nil
}

// execute sends a plan and reads its answers to the end.
func (s *Session) execute(ctx context.Context, p plan) (*answer, error) {
	request, err := encode("ExecutePlanRequest", executeRequest{caller: s.caller(), Plan: p})
	if err != nil {
		return nil, err
	}
	callCtx, cancel := context.WithCancel(s.outgoing(ctx))
	defer cancel() // ends the gRPC stream on every way out
	calls, err := s.conn.NewStream(callCtx, &grpc.StreamDesc{ServerStreams: true}, executePlanMethod)
	if err != nil {
		return nil, translate(ctx, err)
	}
	if err := calls.SendMsg(request); err != nil {
		return nil, translate(ctx, err)
	}
	if err := calls.CloseSend(); err != nil {
		return nil, translate(ctx, err)
	}
	var a answer
	for {
		response, err := newMessage("ExecutePlanResponse")
		if err != nil {
			return nil, err
		}
		err = calls.RecvMsg(response)
		if errors.Is(err, io.EOF) {
			return &a, nil
		}
		if err != nil {
			return nil, translate(ctx, err)
		}
		if err := decode(response, &a); err != nil {
			return nil, err
		}
	}
}

// analyze asks the server to check a relation, which resolves names, schema
// and source without running anything.
func (s *Session) analyze(ctx context.Context, input json.RawMessage) error {
	type schemaOf struct {
		Plan struct {
			Root json.RawMessage `json:"root"`
		} `json:"plan"`
	}
	request := struct {
		caller
		Schema schemaOf `json:"schema"`
	}{caller: s.caller()}
	request.Schema.Plan.Root = input
	return s.invoke(ctx, analyzePlanMethod, "AnalyzePlanRequest", request, "AnalyzePlanResponse", nil)
}

// invoke makes a unary call and reads of the answer what v asks for, if v is
// not nil.
func (s *Session) invoke(ctx context.Context, method string, requestType protoreflect.Name, request any, responseType protoreflect.Name, v any) error {
	req, err := encode(requestType, request)
	if err != nil {
		return err
	}
	resp, err := newMessage(responseType)
	if err != nil {
		return err
	}
	if err := s.conn.Invoke(s.outgoing(ctx), method, req, resp); err != nil {
		return translate(ctx, err)
	}
	if v == nil {
		return nil
	}
	return decode(resp, v)
}
