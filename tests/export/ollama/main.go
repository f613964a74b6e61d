// Runs a template as Ollama does: Go's text/template over .System, .Tools and .Messages, and finds
// the text that begins a call, which is the first one behind `if .ToolCalls`.
//
// JSON is spaced as in the prompts of training, so that only the layout is compared; Ollama itself
// writes it without blanks.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
	"text/template/parse"
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

type Tool struct {
	Function Function
	Text     string
}

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
	switch known := value.(type) {
	case Function:
		return known.Text
	case Tool:
		return known.Text
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(string(text), "\",\"", "\", \"")
}

func branches(node parse.Node) (*parse.BranchNode, bool) {
	switch known := node.(type) {
	case *parse.IfNode:
		return &known.BranchNode, true
	case *parse.RangeNode:
		return &known.BranchNode, true
	}
	return nil, false
}

func inside(list *parse.ListNode) []parse.Node {
	if list == nil {
		return nil
	}
	return list.Nodes
}

func ifCalls(nodes []parse.Node) *parse.BranchNode {
	for _, node := range nodes {
		branch, ok := branches(node)
		if !ok {
			continue
		}
		if branch.NodeType == parse.NodeIf && strings.Contains(branch.Pipe.String(), ".ToolCalls") {
			return branch
		}
		for _, list := range []*parse.ListNode{branch.List, branch.ElseList} {
			if found := ifCalls(inside(list)); found != nil {
				return found
			}
		}
	}
	return nil
}

func firstText(nodes []parse.Node) string {
	for _, node := range nodes {
		if text, ok := node.(*parse.TextNode); ok {
			if strings.TrimSpace(string(text.Text)) != "" {
				return string(text.Text)
			}
			continue
		}
		branch, ok := branches(node)
		if !ok {
			return ""
		}
		if found := firstText(inside(branch.List)); found != "" {
			return found
		}
		return firstText(inside(branch.ElseList))
	}
	return ""
}

func tag(nodes []parse.Node) string {
	text := ""
	if branch := ifCalls(nodes); branch != nil {
		text, _, _ = strings.Cut(firstText(inside(branch.List)), "{")
	}
	if text = strings.TrimSpace(text); text == "" {
		return "{"
	}
	return text
}

type Output struct{ Text, Tag string }

func main() {
	var inputs []Input
	if err := json.NewDecoder(os.Stdin).Decode(&inputs); err != nil {
		panic(err)
	}
	outputs := []Output{}
	for _, input := range inputs {
		functions := template.FuncMap{"json": spaced}
		parsed := template.Must(template.New("").Funcs(functions).Parse(input.Template))
		var text strings.Builder
		if err := parsed.Execute(&text, input.Values); err != nil {
			panic(err)
		}
		outputs = append(outputs, Output{text.String(), tag(parsed.Tree.Root.Nodes)})
	}
	json.NewEncoder(os.Stdout).Encode(outputs)
}
