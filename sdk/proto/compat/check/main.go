// Command check holds a descriptor set against an older one and fails if it is not a
// compatible successor: check BEFORE AFTER.
package main

import (
	"fmt"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/patchbay-mq/patchbay/sdk/proto/compat"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("two descriptor sets are needed, the one before and the one after; got %d arguments", len(args))
	}
	before, err := read(args[0])
	if err != nil {
		return err
	}
	after, err := read(args[1])
	if err != nil {
		return err
	}
	if problems := compat.Check(before, after); len(problems) > 0 {
		return fmt.Errorf("%s is not a compatible successor of %s:\n\t%s", args[1], args[0], strings.Join(problems, "\n\t"))
	}
	return nil
}

func read(path string) (*descriptorpb.FileDescriptorSet, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(raw, set); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}
