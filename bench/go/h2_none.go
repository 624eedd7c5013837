// SPDX-License-Identifier: MIT

//go:build !go1.24

package main

import "net/http"

func both(s *http.Server) {}
