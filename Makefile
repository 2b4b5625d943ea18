# SPDX-License-Identifier: MIT
#
# A front door to Meson: each target is one command that works on a fresh
# clone, from any directory (make -C, make -f). `make help` lists them.

# This folder; spaces in it are fine as long as make is called in it or with -C.
ROOT := $(if $(filter-out Makefile,$(MAKEFILE_LIST)),$(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST))))),$(CURDIR))
BUILD = $(ROOT)/build
PREFIX ?=
FUZZ_SECONDS ?= 600

.PHONY: all deps demo check check-long bench study-crossover study-tables install clean help
.DEFAULT_GOAL := all

all:
	@command -v meson >/dev/null && command -v ninja >/dev/null || \
		{ echo "make: meson and ninja are needed; 'make deps' installs them" >&2; exit 1; }
	@test -f "$(BUILD)/build.ninja" || meson setup "$(BUILD)" "$(ROOT)"
	@ninja -C "$(BUILD)"

deps:
	@"$(ROOT)/tools/deps" build run

demo: deps
	@$(MAKE) --no-print-directory -C "$(ROOT)" all
	@"$(ROOT)/tools/demo" "$(BUILD)/quire"

check:
	@"$(ROOT)/tools/deps" build run check
	@"$(ROOT)/tools/check"

check-long:
	@"$(ROOT)/tools/deps" build run check
	@"$(ROOT)/tools/check-long" --fuzz-seconds $(FUZZ_SECONDS)

bench: deps
	@"$(ROOT)/tools/bench"

# PROGRAM="gcc -c x.c": a program that study-tables records too.
study-crossover study-tables:
	@"$(ROOT)/tools/deps" build run study
	@$(MAKE) --no-print-directory -C "$(ROOT)" all
	@"$(ROOT)/tools/study" $(@:study-%=%) $(if $(PROGRAM),--program "$$PROGRAM")

install: all
	@test -z "$(PREFIX)" || meson configure "$(BUILD)" "-Dprefix=$(PREFIX)"
	@meson install -C "$(BUILD)"

clean:
	rm -rf "$(ROOT)"/build "$(ROOT)"/build-*

help:
	@echo "make             build/quire"
	@echo "make deps        install what building and running need (tools/deps.txt), through apt"
	@echo "make demo        gcc's compiler proper, recorded and translated seven ways: a table in under three minutes"
	@echo "make check       every test, under gcc, sanitizers and clang, and the checks on the source: under 15 minutes"
	@echo "make check-long  fuzzers (FUZZ_SECONDS=$(FUZZ_SECONDS) each), long equivalence runs, coverage"
	@echo "make bench       benchmarks of a release build"
	@echo "make study-crossover, make study-tables [PROGRAM='gcc -c x.c']"
	@echo "                 the studies of docs/studies: measured, drawn and checked anew, in some minutes each"
	@echo "make install     into PREFIX=/usr/local (DESTDIR is honoured)"
	@echo "make clean       remove build/ and build-*/"
