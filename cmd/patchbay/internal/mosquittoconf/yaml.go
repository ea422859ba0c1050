package mosquittoconf

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// object is a map that keeps its order.
type object []pair

type pair struct {
	key   string
	value any // bool, int, string, []string, object, []object
	from  *entry
}

func (o *object) set(key string, value any, from *entry) {
	for i := range *o {
		if (*o)[i].key == key {
			(*o)[i].value, (*o)[i].from = value, from
			return
		}
	}
	*o = append(*o, pair{key, value, from})
}

// at returns the object below a key, and makes it if it is not there.
func (o *object) at(key string) *object {
	for i := range *o {
		if (*o)[i].key == key {
			return (*o)[i].value.(*object)
		}
	}
	inner := &object{}
	*o = append(*o, pair{key: key, value: inner})
	return inner
}

// writeYAML writes an object, each value with the line that it comes from.
func writeYAML(b *strings.Builder, o object, indent string) {
	for _, p := range o {
		comment := ""
		if p.from != nil {
			comment = " # " + p.from.place()
		}
		b.WriteString(indent + scalar(p.key) + ":")
		switch v := p.value.(type) {
		case *object:
			b.WriteString(comment + "\n")
			writeYAML(b, *v, indent+"  ")
		case []object:
			b.WriteString(comment + "\n")
			writeItems(b, v, indent+"  ")
		case []string:
			list := make([]string, len(v))
			for i, s := range v {
				list[i] = quoted(s)
			}
			fmt.Fprintf(b, " [%s]%s\n", strings.Join(list, ", "), comment)
		case string:
			b.WriteString(" " + scalar(v) + comment + "\n")
		default:
			fmt.Fprintf(b, " %v%s\n", v, comment)
		}
	}
}

// writeItems writes a list of objects.
func writeItems(b *strings.Builder, list []object, indent string) {
	for _, o := range list {
		var item strings.Builder
		writeYAML(&item, o, indent+"  ")
		b.WriteString(indent + "- " + strings.TrimPrefix(item.String(), indent+"  "))
	}
}

var plainScalar = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)

// scalar writes a text so that YAML reads it as one.
func scalar(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
	default:
		if plainScalar.MatchString(s) {
			return s
		}
	}
	return quoted(s)
}

// quoted is a text in quotes: JSON's strings are YAML's, but for characters that JSON
// leaves as they are and YAML has not.
func quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a string: cannot fail
	return notInYAML.ReplaceAllStringFunc(strings.TrimSuffix(b.String(), "\n"), func(c string) string {
		r, _ := utf8.DecodeRuneInString(c)
		return fmt.Sprintf(`\u%04x`, r)
	})
}

var notInYAML = regexp.MustCompile("[\x7f-\u0084\u0086-\u009f\ufeff\ufffe\uffff]")
