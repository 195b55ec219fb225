//go:build race

package main

// raceDetector tells that times are worth nothing, since the race detector takes part.
const raceDetector = true
