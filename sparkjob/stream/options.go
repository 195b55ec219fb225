package stream

import (
	"errors"
	"fmt"
	"strconv"
)

// settings collects what a reader or writer was told, and what was wrong with
// it.
type settings struct {
	format   string
	options  map[string]string
	mistakes []error
}

func (s *settings) mistake(format string, args ...any) {
	s.mistakes = append(s.mistakes, fmt.Errorf(format, args...))
}

func (s *settings) setOption(key string, value any) {
	if key == "" {
		s.mistake("an option has no name")
		return
	}
	text, err := optionText(value)
	if err != nil {
		s.mistake("option %s: %w", key, err)
		return
	}
	if s.options == nil {
		s.options = map[string]string{}
	}
	s.options[key] = text
}

func (s *settings) setOptions(options map[string]string) {
	for key, value := range options {
		s.setOption(key, value)
	}
}

// onePath reads the optional path of a call.
func (s *settings) onePath(path []string) string {
	switch {
	case len(path) == 0:
		return ""
	case len(path) > 1:
		s.mistake("%d paths, and a stream has one", len(path))
	case path[0] == "":
		s.mistake("the path is empty")
	}
	return path[0]
}

// optionText writes the value of an option as Spark reads it.
func optionText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), nil
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case nil:
		return "", errors.New("its value is nil")
	}
	return "", fmt.Errorf("its value is a %T, and an option is a string, bool or number", value)
}
