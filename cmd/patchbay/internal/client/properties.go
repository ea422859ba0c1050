package client

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/eclipse/paho.golang/paho"
)

// properties are those of -D, by packet.
type properties struct {
	connect     paho.ConnectProperties
	will        paho.WillProperties
	publish     paho.PublishProperties
	subscribe   paho.SubscribeProperties
	unsubscribe paho.UnsubscribeProperties
	disconnect  paho.DisconnectProperties
	auth        paho.AuthProperties
}

// setter parses a value and stores it; nil values are never passed.
type setter func(value string) error

// parseProperties reads every -D. Each takes two or three words more than a flag can (mosquitto's syntax),
// which end up, in order, among the positional arguments; what is left of those is returned. A -D whose
// value holds spaces is complete in itself: -D "publish user-property key -value".
func parseProperties(flags, args []string) (p properties, rest []string, err error) {
	// Not asking for problem information would be sent as a property of its own.
	p.connect.RequestProblemInfo = true
	for _, flag := range flags {
		words := strings.SplitN(flag, " ", 3)
		if len(words) == 1 {
			words = append(words, take(&args, 2)...)
		}
		if len(words) < 3 {
			return p, nil, usagef("-D %s: want COMMAND NAME VALUE, or COMMAND user-property KEY VALUE", strings.Join(words, " "))
		}
		command, name, value := strings.ToLower(words[0]), words[1], words[2]
		if name == "user-property" {
			key, pair := value, take(&args, 1)
			if strings.Contains(flag, " ") {
				args = append(pair, args...) // not ours: this -D is complete
				var found bool
				if key, value, found = strings.Cut(value, " "); !found {
					return p, nil, usagef("-D %s: user-property needs a key and a value", flag)
				}
			} else if len(pair) == 0 {
				return p, nil, usagef("-D %s user-property %s: the value is missing", command, key)
			} else {
				value = pair[0]
			}
			if err := p.addUser(command, key, value); err != nil {
				return p, nil, err
			}
			continue
		}
		set, known := p.setters()[command]
		if !known {
			return p, nil, unknownCommand(command)
		}
		one, known := set[name]
		if !known {
			return p, nil, usagef("-D %s %s: %s has no such property that can be set", command, name, strings.ToUpper(command))
		}
		if err := one(value); err != nil {
			return p, nil, usagef("-D %s %s %s: %w", command, name, value, err)
		}
	}
	return p, args, nil
}

// take removes up to n words from the front of args.
func take(args *[]string, n int) []string {
	n = min(n, len(*args))
	words := append([]string(nil), (*args)[:n]...)
	*args = (*args)[n:]
	return words
}

func unknownCommand(command string) error {
	return usagef("-D %s: want connect, publish, subscribe, unsubscribe, disconnect, will or auth", command)
}

func (p *properties) addUser(command, key, value string) error {
	users := map[string]*paho.UserProperties{
		"connect": &p.connect.User, "will": &p.will.User, "publish": &p.publish.User,
		"subscribe": &p.subscribe.User, "unsubscribe": &p.unsubscribe.User,
		"disconnect": &p.disconnect.User, "auth": &p.auth.User,
	}
	list, known := users[command]
	if !known {
		return unknownCommand(command)
	}
	list.Add(key, value)
	return nil
}

// setters has every property that a client may send, by packet and by the name that mosquitto gives it.
func (p *properties) setters() map[string]map[string]setter {
	c, w, m := &p.connect, &p.will, &p.publish
	return map[string]map[string]setter{
		"connect": {
			"authentication-data":          setBytes(&c.AuthData),
			"authentication-method":        setString(&c.AuthMethod),
			"maximum-packet-size":          setUint32(&c.MaximumPacketSize, 1),
			"receive-maximum":              setUint16(&c.ReceiveMaximum, 1),
			"request-problem-information":  setBool(&c.RequestProblemInfo),
			"request-response-information": setBool(&c.RequestResponseInfo),
			"session-expiry-interval":      setUint32(&c.SessionExpiryInterval, 0),
			"topic-alias-maximum":          setUint16(&c.TopicAliasMaximum, 0),
		},
		"will": {
			"content-type":             setString(&w.ContentType),
			"correlation-data":         setBytes(&w.CorrelationData),
			"message-expiry-interval":  setUint32(&w.MessageExpiry, 0),
			"payload-format-indicator": setFlag(&w.PayloadFormat),
			"response-topic":           setString(&w.ResponseTopic),
			"will-delay-interval":      setUint32(&w.WillDelayInterval, 0),
		},
		"publish": {
			"content-type":             setString(&m.ContentType),
			"correlation-data":         setBytes(&m.CorrelationData),
			"message-expiry-interval":  setUint32(&m.MessageExpiry, 0),
			"payload-format-indicator": setFlag(&m.PayloadFormat),
			"response-topic":           setString(&m.ResponseTopic),
			"topic-alias":              setUint16(&m.TopicAlias, 1),
		},
		"subscribe": {"subscription-identifier": setSubscriptionID(&p.subscribe.SubscriptionIdentifier)},
		"disconnect": {
			"reason-string":           setString(&p.disconnect.ReasonString),
			"session-expiry-interval": setUint32(&p.disconnect.SessionExpiryInterval, 0),
		},
		"auth": {
			"authentication-data":   setBytes(&p.auth.AuthData),
			"authentication-method": setString(&p.auth.AuthMethod),
			"reason-string":         setString(&p.auth.ReasonString),
		},
		"unsubscribe": {}, // user-property only
	}
}

func setString(to *string) setter {
	return func(value string) error { *to = value; return nil }
}

func setBytes(to *[]byte) setter {
	return func(value string) error { *to = []byte(value); return nil }
}

func setUint32(to **uint32, least uint64) setter {
	return func(value string) error {
		n, err := number(value, least, 1<<32-1)
		*to = paho.Uint32(uint32(n))
		return err
	}
}

func setUint16(to **uint16, least uint64) setter {
	return func(value string) error {
		n, err := number(value, least, 1<<16-1)
		*to = paho.Uint16(uint16(n))
		return err
	}
}

func setFlag(to **byte) setter {
	return func(value string) error {
		n, err := number(value, 0, 1)
		*to = paho.Byte(byte(n))
		return err
	}
}

func setBool(to *bool) setter {
	return func(value string) error {
		n, err := number(value, 0, 1)
		*to = n == 1
		return err
	}
}

// maxSubscriptionID is the largest Variable Byte Integer (MQTT 5 §3.8.2.1.2).
const maxSubscriptionID = 268435455

func setSubscriptionID(to **int) setter {
	return func(value string) error {
		n, err := number(value, 1, maxSubscriptionID)
		id := int(n)
		*to = &id
		return err
	}
}

func number(value string, least, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("want a number from %d to %d", least, most)
	}
	return n, nil
}
