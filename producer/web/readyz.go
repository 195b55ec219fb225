package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// directTimeout bounds the question whether events go to the brokers at once, which
// changes nothing in the store's being ready.
const directTimeout = 500 * time.Millisecond

var errNoBroker = fmt.Errorf("no broker has answered within %v", directTimeout)

// readyz says whether events can be taken: the spool has room for those that the brokers
// do not take, or the brokers answer, and the store is not about to stop.
// Of a store that is ready it says as well why events wait in the spool, if they do: a
// topic that does not exist would otherwise be noticed late.
func (s *Server) readyz(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	if s.draining.Load() {
		return notReady("The store is stopping.")
	}
	if err := s.publisher.Ready(c.Request().Context()); err != nil {
		return notReady("Events cannot be taken: " + err.Error() + ".")
	}
	ready := map[string]string{"status": "ready"}
	ctx, cancel := context.WithTimeoutCause(c.Request().Context(), directTimeout, errNoBroker)
	defer cancel()
	if err := s.publisher.Direct(ctx); err != nil {
		ready["detail"] = "Events are taken, and wait in the spool: " + err.Error() + "."
	}
	return c.JSON(http.StatusOK, ready)
}

func notReady(detail string) *Problem {
	return &Problem{
		Type: "not-ready", Title: "Not ready", Status: http.StatusServiceUnavailable,
		Detail: detail, RetryAfter: 2 * time.Second,
	}
}
