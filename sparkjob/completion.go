package main

import (
	"bytes"
	"fmt"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"

	"example.com/bookstore/sparkjob/job"
	"example.com/bookstore/sparkjob/terminal"
)

type completionCommand struct {
	kongcompletion.Completion `embed:""`
}

// Run prints what the embedded command does, within the columns of a terminal.
func (cmd *completionCommand) Run(ctx *kong.Context) error {
	out := ctx.Stdout
	var text bytes.Buffer
	ctx.Stdout, ctx.Exit = &text, func(int) {}
	if err := cmd.Completion.Run(ctx); err != nil {
		return fmt.Errorf("looking for your shell: %w; name it: sparkjob completion bash", err)
	}
	if cmd.Code {
		_, err := text.WriteTo(out)
		return err
	}
	_, err := fmt.Fprint(out, terminal.Wrap(text.String()))
	return err
}

func (completionCommand) Help() string {
	return `Prints the line to put into the shell's startup file. The program must be installed under its
name: go install ./sparkjob. Commands, flags and the names of the queries are completed.

Examples:
  sparkjob completion                     for the shell that you log in to
  source <(sparkjob completion -c bash)   now, and in ~/.bashrc for good
  source <(sparkjob completion -c zsh)    likewise in ~/.zshrc
  sparkjob completion -c fish | source    in ~/.config/fish/config.fish`
}

// completeLine answers a shell that asks how a line may go on, and reports whether one
// has.
func completeLine(parser *kong.Kong) (bool, error) {
	command, err := kongcompletion.Command(parser, kongcompletion.WithPredictors(map[string]complete.Predictor{
		"query": complete.PredictSet(job.Names...),
		"file":  complete.PredictFiles("*"),
	}))
	if err != nil {
		return false, err
	}
	repeatLast(&command)
	completer := complete.New(parser.Model.Name, command)
	completer.Out = parser.Stdout
	return completer.Complete(), nil
}

// repeatLast has the last argument of each command complete more than once: those that
// name queries take any number of them.
func repeatLast(command *complete.Command) {
	for name, sub := range command.Sub {
		repeatLast(&sub)
		command.Sub[name] = sub
	}
	args, ok := command.Args.(*kongcompletion.PositionalPredictor)
	if !ok || len(args.Predictors) == 0 {
		return
	}
	last := args.Predictors[len(args.Predictors)-1]
	for range job.Names {
		args.Predictors = append(args.Predictors, last)
	}
}
