//go:build !race

package pluginhost_test

const raced = false
