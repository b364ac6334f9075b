# Newcomers: `make demo`, then `make test`. Everything lives in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := dev,demo,openvino
# The networks of the tests are too small for several threads, which wait for each other where the machine is busy.
TEST_PROCESSES ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile

.PHONY: demo cpp cpp-sanitize test test-slow gpu-check lint peers schemas constraints clean

demo: $(STAMP)  ## train, quantize, build, validate, benchmark and report on bundled data
	$(BIN)/resnet-deploy demo

# The C++ SDK: see cpp/README.md for what it needs. CPP_ARGS goes to CMake: -DTENSORRT_ROOT=..., -DONNXRUNTIME_ROOT=...
CPP_JOBS ?= $(shell nproc 2>/dev/null || echo 2)
CPP_ARGS ?=
OPENVINO_DIR = $(shell $(BIN)/python -c 'from importlib.util import find_spec as f; print(f("openvino").submodule_search_locations[0] + "/cmake")')
ONNXRUNTIME_LIBRARY = $(shell $(BIN)/python -c 'from importlib.util import find_spec as f; from pathlib import Path as p; print(next(p(f("onnxruntime").submodule_search_locations[0]).glob("capi/libonnxruntime.so.*"), ""))')
export CMAKE_GENERATOR ?= $(if $(shell command -v ninja),Ninja,Unix Makefiles)
define build_and_test_cpp
	cd cpp && cmake --preset $(1) -DOpenVINO_DIR="$(OPENVINO_DIR)" $(CPP_ARGS)
	cd cpp && cmake --build --preset $(1) --parallel $(CPP_JOBS)
	cd cpp && RESNET_DEPLOY_ONNXRUNTIME="$${RESNET_DEPLOY_ONNXRUNTIME:-$(ONNXRUNTIME_LIBRARY)}" ctest --preset $(1) --parallel $(CPP_JOBS)
endef

cpp: $(STAMP)  ## configure, build with warnings as errors, and test the C++ SDK; into build/cpp
	$(call build_and_test_cpp,release)

# AddressSanitizer's preset has the OpenVINO backend, with TBB told of the sanitizer. ThreadSanitizer's leaves it out: its
# libraries are not instrumented, and what they order by locks of their own would be reported.
cpp-sanitize: $(STAMP)  ## the same under AddressSanitizer with UBSan, and under ThreadSanitizer
	$(call build_and_test_cpp,asan)
	$(call build_and_test_cpp,tsan)

test: $(STAMP)  ## the plain tests: offline, on a CPU, in minutes
	$(BIN)/ruff check .
	$(PYTEST) -m "not slow and not gpu and not peer"

test-slow: $(STAMP)  ## the plain tests and the slow ones
	$(PYTEST) -m "not gpu and not peer"

gpu-check: $(STAMP)  ## on a machine with an NVIDIA GPU: all that needs one, into a dated report under docs/benchmarks; ARGS=--help
	$(BIN)/python benchmarks/gpu_check.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find cpp benchmarks/cpp -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.cpp' | xargs $(BIN)/clang-format --style=file:cpp/.clang-format --dry-run -Werror

PEERS := .venv-peers
PEER_STAMP := $(PEERS)/.installed

peers: $(PEER_STAMP)  ## the tools we are compared with, in an environment of their own: NVIDIA ModelOpt

$(PEER_STAMP):
	@echo "installing into $(PEERS) (once; two gigabytes) ..." >&2
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q --disable-pip-version-check 'nvidia-modelopt[onnx]==0.47.*' 'torch==2.13.*'
	@touch $(PEER_STAMP)

schemas: $(STAMP)  ## write docs/reference/schemas anew from the dataclasses
	$(BIN)/python docs/reference/schemas/make_schemas.py

constraints: $(STAMP)  ## pin the newest versions again
	sed '/^#/!d' constraints.txt > constraints.new
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.10 $(foreach e,dev demo openvino sign triton,--extra $(e)) \
	    --no-header --no-annotate -q -o constraints.body
	cat constraints.body >> constraints.new && mv constraints.new constraints.txt && rm constraints.body

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 10) <= v < (3, 14) else \
	    f"error: Python {v[0]}.{v[1]} is not supported, 3.10 to 3.13 is\nremedy: make PYTHON=python3.12 demo")'
	@echo "installing into $(VENV) (once; the pinned packages are several hundred megabytes) ..." >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) out build *.egg-info
