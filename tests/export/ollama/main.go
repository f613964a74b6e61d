// Runs a template as Ollama does: Go's text/template over .System, .Tools and .Messages.
//
// JSON is spaced as in the prompts of training, so that only the layout is compared; Ollama itself
// writes it without blanks.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type Kind string

func (k Kind) String() string { return string(k) }

type Property struct {
	Type        Kind
	Description string
	Enum        []string
}

type Function struct {
	Name        string
	Description string
	Parameters  struct{ Properties map[string]Property }
	Text        string
}

func (f Function) String() string { return f.Text }

type Tool struct {
	Function Function
	Text     string
}

func (t Tool) String() string { return t.Text }

type Arguments string

func (a Arguments) String() string { return string(a) }

type Call struct {
	Function struct {
		Name      string
		Arguments Arguments
	}
}

type Message struct {
	Role      string
	Content   string
	ToolCalls []Call
}

type Input struct {
	Template string
	Values   struct {
		System   string
		Tools    []Tool
		Messages []Message
	}
}

func spaced(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(string(text), "\",\"", "\", \"")
}

func main() {
	var inputs []Input
	if err := json.NewDecoder(os.Stdin).Decode(&inputs); err != nil {
		panic(err)
	}
	texts := []string{}
	for _, input := range inputs {
		functions := template.FuncMap{"json": spaced}
		parsed := template.Must(template.New("").Funcs(functions).Parse(input.Template))
		var text strings.Builder
		if err := parsed.Execute(&text, input.Values); err != nil {
			panic(err)
		}
		texts = append(texts, text.String())
	}
	json.NewEncoder(os.Stdout).Encode(texts)
}
