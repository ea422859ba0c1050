package model

import (
	"encoding/json"
	"strings"

	"github.com/sashabaranov/go-openai"
)

const (
	// bytesPerToken is what texts in European languages have; of others a token has fewer
	// letters of more bytes, which comes to the same within a third.
	bytesPerToken = 4
	// imageTokens is what a picture of usual size costs.
	imageTokens = 1000
	// messageTokens is what a message costs beside its text.
	messageTokens = 4
)

// textTokens estimates the tokens of a text of n bytes.
func textTokens(n int) int { return (n + bytesPerToken - 1) / bytesPerToken }

// TextTokens estimates the tokens of a text.
func TextTokens(s string) int { return textTokens(len(s)) }

// Tokens estimates the tokens of what a request has the model read.
func Tokens(r *openai.ChatCompletionRequest) int {
	n := 0
	for i := range r.Messages {
		n += MessageTokens(&r.Messages[i])
	}
	for i := range r.Tools {
		if b, err := json.Marshal(&r.Tools[i]); err == nil {
			n += textTokens(len(b))
		}
	}
	return n
}

// MessageTokens estimates the tokens of a message.
func MessageTokens(m *openai.ChatCompletionMessage) int {
	n := messageTokens + TextTokens(m.Content)
	for i := range m.MultiContent {
		if m.MultiContent[i].ImageURL != nil {
			n += imageTokens
		}
		n += TextTokens(m.MultiContent[i].Text)
	}
	for i := range m.ToolCalls {
		n += textTokens(len(m.ToolCalls[i].Function.Name) + len(m.ToolCalls[i].Function.Arguments))
	}
	return n
}

// categories names what a moderation has found.
func categories(c *openai.ResultCategories) string {
	b, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	found := map[string]bool{}
	if json.Unmarshal(b, &found) != nil {
		return ""
	}
	var names []string
	for _, name := range []string{
		"hate", "hate/threatening", "harassment", "harassment/threatening", "self-harm", "self-harm/intent",
		"self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
	} {
		if found[name] {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
