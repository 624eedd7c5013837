// SPDX-License-Identifier: MIT

//go:build go1.24

package main

import "net/http"

// both lets a server speak HTTP/2 by prior knowledge beside HTTP/1.1.
func both(s *http.Server) {
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
}
