//go:build tools

// Package tools pins the name server of the node that the end-to-end test runs on.
package tools

import (
	_ "github.com/coredns/coredns"
)
