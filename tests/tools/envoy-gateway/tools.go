//go:build tools

// Package tools pins Envoy Gateway, which tests/e2e-gateway.sh runs on a node.
package tools

import (
	_ "github.com/envoyproxy/gateway/cmd/envoy-gateway"
)
