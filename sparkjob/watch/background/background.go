// Package background keeps Bubble Tea from asking the terminal for its colours. Bubble
// Tea asks as soon as it is linked into a program, whatever the program is about to do,
// and a terminal that does not answer holds up every command for seconds. The answer
// makes no difference here, so one is given before: Go initializes packages that are
// ready in the order of their paths, and this one's comes first.
package background

import "github.com/charmbracelet/lipgloss"

func init() { lipgloss.SetHasDarkBackground(true) }
