package web

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// readyz says whether events can be taken: the spool has room for those that the brokers
// do not take, or the brokers answer, and the store is not about to stop.
func (s *Server) readyz(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	if s.draining.Load() {
		return notReady("The store is stopping.")
	}
	if err := s.publisher.Ready(c.Request().Context()); err != nil {
		return notReady("Events cannot be taken: " + err.Error() + ".")
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "ready"})
}

func notReady(detail string) *Problem {
	return &Problem{
		Type: "not-ready", Title: "Not ready", Status: http.StatusServiceUnavailable,
		Detail: detail, RetryAfter: 2 * time.Second,
	}
}
