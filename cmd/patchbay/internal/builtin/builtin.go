// Package builtin links the plugins that are compiled into the program: importing one
// registers it with package sdk. Nothing but this list is here.
package builtin

import (
	_ "github.com/patchbay-mq/patchbay/plugins/acl"           // acl
	_ "github.com/patchbay-mq/patchbay/plugins/assistant"     // assistant
	_ "github.com/patchbay-mq/patchbay/plugins/authcert"      // auth-cert
	_ "github.com/patchbay-mq/patchbay/plugins/authfile"      // authfile
	_ "github.com/patchbay-mq/patchbay/plugins/authhttp"      // auth-http
	_ "github.com/patchbay-mq/patchbay/plugins/authjwt"       // auth-jwt
	_ "github.com/patchbay-mq/patchbay/plugins/bridgekafka"   // bridge-kafka
	_ "github.com/patchbay-mq/patchbay/plugins/bridgemqtt"    // bridge-mqtt
	_ "github.com/patchbay-mq/patchbay/plugins/bridgesql"     // bridge-sql
	_ "github.com/patchbay-mq/patchbay/plugins/bridgewebhook" // bridge-webhook
	_ "github.com/patchbay-mq/patchbay/plugins/guard"         // guard
)
