package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// healthz says that the process is alive. What it depends on is left to readyz:
// a restart of the store would not bring the brokers back.
func (s *Server) healthz(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "alive"})
}
