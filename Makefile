# The commands that people type; `make help` lists them. What they need is installed by apt
# (scripts/install_deps.sh) and by pip into .venv.

PRESET ?= test
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
PYTHON ?= python3
export PYTHON
# Where it is set, each of the many processes that import PyTorch compiles all of it anew.
unexport PYTHONDONTWRITEBYTECODE

BUILD  := build/$(PRESET)
VENV   := .venv/bin
SOURCES = $(shell git ls-files '*.h' '*.cc')

.PHONY: help demo test bench sanitize asan asan-command tsan coverage fuzz format check-format lint clang-tidy analyze reproducible clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo     normalise real signals and draw them: demo-output/instnorm-demo.png'
	@echo 'make test     build, run all tests, print a summary'
	@echo 'make bench    measure this machine: tables, bench/results/<machine>.json and .png'
	@echo 'make sanitize run the C++ tests with AddressSanitizer and UndefinedBehaviorSanitizer (asan), those of'
	@echo '              the command (asan-command), and those of several threads with ThreadSanitizer (tsan);'
	@echo '              installs clang 19'
	@echo 'make coverage what of the library make asan ran, by file; fails below 95 %'
	@echo 'make fuzz     run the fuzzers, SECONDS_EACH=60; 0 is their corpora alone (installs clang 19)'
	@echo 'make format   format the C++ sources'
	@echo 'make lint     check the format and run clang-tidy (installs clang-tidy 19)'
	@echo 'make analyze  compile with the analyzer of GCC (-fanalyzer)'
	@echo 'make reproducible  build the wheel twice, in different folders, and compare the bytes'
	@echo 'make clean    remove build/, demo-output/ and .venv/'
	@echo
	@echo 'PRESET=ci turns warnings into errors; JOBS=1 builds on one core; PYTHON=python3.12 chooses.'

PIP_INSTALL = $(VENV)/python -m pip install --quiet --disable-pip-version-check --no-compile

.venv/test.stamp: requirements/frameworks.txt

.venv/%.stamp: requirements/%.lock
	scripts/install_deps.sh build
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) --require-hashes -r $<
	@if [ $* = test ]; then \
	  $(PIP_INSTALL) -r requirements/frameworks.txt || grep -v '^#' requirements/frameworks.txt | while read -r line; do \
	    $(PIP_INSTALL) "$$line" || echo "not installed, tests that need it are skipped: $$line"; done; fi
	touch $@

# What needs no Python, so that it can be built while pip works.
.PHONY: compiled
compiled:
	cmake --preset $(PRESET)
	cmake --build --preset $(PRESET) -j $(JOBS) --target instnorm_core # has the file that takes longest
	cmake --build --preset $(PRESET) -j $(JOBS)

demo: .venv/demo.stamp
	scripts/install_deps.sh build
	cmake --preset demo
	cmake --build --preset demo -j $(JOBS)
	$(VENV)/python scripts/demo.py --instnorm build/demo/tools/instnorm

# The wheel takes the objects that the tests are made of: compiled once.
test:
	scripts/install_deps.sh test
	$(MAKE) --no-print-directory -j 2 .venv/test.stamp compiled PRESET=$(PRESET)
	rm -rf $(BUILD)/wheel
	CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(VENV)/python -m pip wheel --quiet --disable-pip-version-check \
	  --no-build-isolation --no-deps --config-settings=build-dir=$(BUILD) --config-settings=cmake.define.INSTNORM_BUILD_TESTS=ON \
	  --wheel-dir $(BUILD)/wheel .
	$(PIP_INSTALL) --no-deps --force-reinstall $(BUILD)/wheel/*.whl
	@ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure --output-junit ctest.xml; ctest=$$?; \
	INSTNORM_BUILD_DIR=$(CURDIR)/$(BUILD) INSTNORM_WHEEL=$$(echo $(CURDIR)/$(BUILD)/wheel/*.whl) \
	  $(VENV)/python -m pytest -q -n $(JOBS) --dist worksteal tests --junitxml=$(BUILD)/pytest.xml; pytest=$$?; \
	$(VENV)/python scripts/test_summary.py $(BUILD)/ctest.xml $(BUILD)/pytest.xml \
	  && test $$ctest -eq 0 && test $$pytest -eq 0

# The libraries that are compared are those in .venv; `pip install openvino` there adds one.
bench: .venv/test.stamp
	scripts/install_deps.sh bench
	cmake --preset bench
	cmake --build --preset bench -j $(JOBS) --target suite
	CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(VENV)/python -m pip install --quiet --disable-pip-version-check \
	  --no-build-isolation --no-deps --config-settings build-dir=build/bench \
	  --config-settings cmake.define.INSTNORM_BUILD_BENCHMARKS=ON .
	OMP_WAIT_POLICY=PASSIVE $(VENV)/python bench/run.py --suite build/bench/bench/suite

format: .venv/test.stamp
	$(VENV)/clang-format -i $(SOURCES)

check-format: .venv/test.stamp
	$(VENV)/clang-format --dry-run -Werror $(SOURCES)

sanitize: asan asan-command tsan

# Names of functions in the reports without llvm-symbolizer, a package of its own.
SYMBOLS = external_symbolizer_path=$(shell command -v addr2line)

# Each test once, but for those that need gigabytes or minutes with sanitizers.
asan:
	scripts/install_deps.sh ci
	cmake --preset asan
	cmake --build --preset asan -j $(JOBS)
	rm -rf build/asan/coverage
	LLVM_PROFILE_FILE=$(CURDIR)/build/asan/coverage/%m.profraw \
	  ASAN_OPTIONS=$(SYMBOLS) UBSAN_OPTIONS=$(SYMBOLS) LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp \
	  ctest --test-dir build/asan -j $(JOBS) --timeout 120 --output-on-failure --output-junit ctest.xml \
	  -E 'TwoToThe31|64Bits|TenMillion|\.(SCALAR|SSE4|AVX2|AVX512)$$'

# The command of that build by its tests in Python, but for those of every argument by every value: fuzz has these.
# What is covered is not counted: the tests look at every file that is written.
asan-command: .venv/test.stamp
	scripts/install_deps.sh ci
	cmake --preset asan
	cmake --build --preset asan -j $(JOBS) --target instnorm_cli
	LLVM_PROFILE_FILE=/dev/null LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp \
	  INSTNORM_COMMAND=$(CURDIR)/build/asan/tools/instnorm INSTNORM_BUILD_DIR=$(CURDIR)/build/asan \
	  $(VENV)/python -m pytest -q -n $(JOBS) --dist worksteal tests/cli -k 'not every_option_by_every_value' \
	  --junitxml=build/asan/pytest.xml

# Of what make asan ran.
coverage:
	$(PYTHON) scripts/coverage.py build/asan

# Clang, as its OpenMP runtime tells ThreadSanitizer what it does; GCC's does not, and every parallel
# loop would be reported.
tsan:
	scripts/install_deps.sh ci
	cmake --preset tsan
	cmake --build --preset tsan -j $(JOBS) --target threaded_tests
	TSAN_OPTIONS=ignore_noninstrumented_modules=1:$(SYMBOLS) \
	  ctest --test-dir build/tsan -j $(JOBS) --timeout 120 --output-on-failure --output-junit ctest.xml -L threaded

SECONDS_EACH ?= 60

fuzz:
	scripts/install_deps.sh ci
	cmake --preset fuzz
	cmake --build --preset fuzz -j $(JOBS) --target fuzzers
	fuzz/run.sh build/fuzz $(SECONDS_EACH)

lint: check-format clang-tidy

# The module in Python is read too, and needs the headers of nanobind and NumPy.
clang-tidy: .venv/test.stamp
	scripts/install_deps.sh ci
	cmake --preset lint
	scripts/clang_tidy.sh build/lint $(JOBS)

analyze:
	scripts/install_deps.sh build
	scripts/analyze.sh $(JOBS)

reproducible: .venv/test.stamp
	scripts/install_deps.sh test
	scripts/reproducible_wheel.sh

clean:
	rm -rf build demo-output .venv
