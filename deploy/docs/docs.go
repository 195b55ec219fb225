// Package docs holds what explains the pipeline: Markdown, pictures and outputs.
// Its test follows the documents as a reader would, command by command, on real
// engines, so that none of them promises what does not work.
package docs
