//go:build tools

// Package tools pins the kind that tests/kind makes clusters with.
package tools

import _ "sigs.k8s.io/kind"
