# efficientai-toolkit: the whole build. The tree is the list: a folder of sdk/ is a library, a folder of plugins/ is a plugin, a .c file of
# tests/host, tests/sdk, tests/plugins or bench is a program.
#
#   make                       a runnable tree in build/
#   make demo | check          install what is missing (etc/deps.sh), build, and show it | run all tests
#   make check-arm64           kernels of arm64 under qemu   make bench | bench-peers | fuzz | coverage
#   make install PREFIX=/usr/local DESTDIR=
#   make SAN=address|thread …  the same under sanitizers, in build-address/ or build-thread/
#   V=1 shows commands; CC, CFLAGS, LDFLAGS, B (the output folder) as usual

VERSION  := 0.1.0
PREFIX   ?= /usr/local
SAN      ?=
B        ?= build$(if $(SAN),-$(SAN))
OS       := $(shell uname -s)
ARCH     := $(shell uname -m)
ifeq ($(origin CC),default)
CC       := cc
endif

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2);)

# ---- what is needed -------------------------------------------------------------------------------------------------------------------
# `make` alone only names what is missing; `make demo` and `make check` install it first.
PKGS := yaml-0.1 jansson libffi libpcre2-8 libutf8proc libarchive libpng libxxhash libedit zlib libcurl
BUILDING := $(filter-out clean deps help check-arm64,$(or $(MAKECMDGOALS),all))
ifneq ($(BUILDING),)
ifneq ($(filter check demo,$(MAKECMDGOALS)),)
ifndef ETK_DEPS_DONE
DEPS := $(shell sh etc/deps.sh $(if $(filter check,$(MAKECMDGOALS)),build check,build) >&2; echo $$?)
ifneq ($(DEPS),0)
$(error etc/deps.sh could not install what is needed (exit $(DEPS)); see the message above)
endif
export ETK_DEPS_DONE := 1
endif
endif
MISSING := $(shell command -v pkg-config >/dev/null || echo pkg-config; for p in $(PKGS); do pkg-config --exists $$p 2>/dev/null || echo $$p; done)
ifneq ($(MISSING),)
$(error missing: $(MISSING). Install with: sh etc/deps.sh build)
endif
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
LIBS_core  := $(shell pkg-config --libs yaml-0.1 jansson) -lm -ldl
LIBS_ml    := $(shell pkg-config --libs jansson libpcre2-8 libutf8proc zlib) -lm -ldl
LIBS_io    := $(shell pkg-config --libs libarchive zlib 2>/dev/null)
LIBS_net   := -ldl -lpthread
LIBS_media := $(shell pkg-config --libs libpng 2>/dev/null) -lm
LIBS_host  := $(shell pkg-config --libs jansson libffi 2>/dev/null) -lm -ldl
endif

# ---- flags ----------------------------------------------------------------------------------------------------------------------------
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wno-format-nonliteral $(if $(WERROR),-Werror)
SAN_address := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SAN_thread  := -fsanitize=thread -fno-omit-frame-pointer
COMMON := -std=c11 -D_GNU_SOURCE -DETK_VERSION='"$(VERSION)"' -fPIC -fno-semantic-interposition -pthread $(WARN) -include sdk/core/banned.h \
          -Isdk/include -Isdk -Ihost $(PKG_CFLAGS) $(SAN_$(SAN)) $(if $(COVERAGE),--coverage -fprofile-update=atomic)
LINK := -pthread $(SAN_$(SAN)) $(if $(COVERAGE),--coverage)
ifeq ($(OS),Darwin)
SO_FLAGS = -dynamiclib -install_name @rpath/$(1)
ORIGIN := @loader_path
else
SO_FLAGS = -shared -Wl,-soname,$(1) -Wl,-z,defs -Wl,-O1 -Wl,--hash-style=gnu -Wl,--as-needed
ORIGIN := \$$ORIGIN
endif

# ---- sources --------------------------------------------------------------------------------------------------------------------------
CORE  := $(wildcard sdk/core/*.c)
IO    := $(wildcard sdk/io/*.c)
NET   := $(wildcard sdk/net/*.c)
MEDIA := $(wildcard sdk/media/*.c)
ML    := $(filter-out %.isa.c,$(wildcard sdk/ml/*/*.c))
# A file named <noun>.isa.c is compiled once for each instruction set, with ETK_ISA set to its name.
ISA_C := $(wildcard sdk/ml/*/*.isa.c)
ifeq ($(ARCH),x86_64)
ISAS := base avx2 avx512
else ifneq ($(filter aarch64 arm64,$(ARCH)),)
ISAS := neon
else
ISAS := base
endif
ISA_FLAGS_base   := -O3
ISA_FLAGS_neon   := -O3
ISA_FLAGS_avx2   := -O3 -mavx2 -mfma -mf16c
ISA_FLAGS_avx512 := -O3 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512
# Newer instructions than these matter to few files: a file's own sets come on top. ETK_ISA_<name> is defined for all that a set has.
ifeq ($(ARCH),x86_64)
ISAS_product_blocks := avx512vnni
ISAS_product_half   := avx512bf16
ISAS_product_gemm   := avx512bf16
else ifneq ($(filter aarch64 arm64,$(ARCH)),)
ISAS_product_blocks := neondot neonmm
ISAS_product_half   := neonmm
ISAS_product_gemm   := neonmm
endif
ISA_FLAGS_avx512vnni := $(ISA_FLAGS_avx512) -mavx512vnni -DETK_ISA_avx512=1
ISA_FLAGS_avx512bf16 := $(ISA_FLAGS_avx512vnni) -mavx512bf16 -DETK_ISA_avx512vnni=1
ISA_FLAGS_neondot    := -O3 -march=armv8.2-a+dotprod -DETK_ISA_neon=1
ISA_FLAGS_neonmm     := -O3 -march=armv8.2-a+dotprod+i8mm+bf16 -DETK_ISA_neon=1 -DETK_ISA_neondot=1
HOST := $(wildcard host/*.c host/builtins/*.c)
PLUGINS := $(notdir $(patsubst %/,%,$(wildcard plugins/*/)))

o = $(patsubst %.c,$(B)/obj/%.o,$(1))
CORE_O := $(call o,$(CORE))
IO_O := $(call o,$(IO))
NET_O := $(call o,$(NET))
MEDIA_O := $(call o,$(MEDIA))
ML_O   := $(call o,$(ML)) $(foreach c,$(ISA_C),$(foreach i,$(ISAS) $(ISAS_$(notdir $(c:.isa.c=))),$(c:%.isa.c=$(B)/obj/%.$(i).o)))
HOST_O := $(call o,$(HOST))

EXE := $(B)/bin/efficientai-toolkit
PLUGIN_DIR := $(B)/lib/efficientai-toolkit/plugins
PLUGIN_SO := $(foreach p,$(PLUGINS),$(PLUGIN_DIR)/libproj-$(p).so)
LIB_core := $(B)/lib/libetk.so.1
LIB_ml   := $(B)/lib/libetk-ml.so.0
LIB_io   := $(B)/lib/libetk-io.so.0
LIB_net  := $(B)/lib/libetk-net.so.0
LIB_media := $(B)/lib/libetk-media.so.0
LIBS_SDK := $(LIB_core) $(LIB_ml) $(LIB_io) $(LIB_net) $(LIB_media)

.PHONY: all
all: $(EXE) $(LIBS_SDK) $(PLUGIN_SO) $(B)/share/efficientai-toolkit/profiles

# ---- compile --------------------------------------------------------------------------------------------------------------------------
$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<) $(CC) $(COMMON) $(CFLAGS) -MMD -MP -c $< -o $@
define ISA_RULE
$(B)/obj/%.$(1).o: %.isa.c
	@mkdir -p $$(@D)
	$$(call say,CC,"$$< ($(1))") $$(CC) $$(COMMON) $$(CFLAGS) $$(ISA_FLAGS_$(1)) -DETK_ISA=$(1) -DETK_ISA_$(1)=1 -MMD -MP -c $$< -o $$@
endef
$(foreach i,$(sort $(ISAS) $(ISAS_product_blocks) $(ISAS_product_half)),$(eval $(call ISA_RULE,$(i))))

$(B)/obj/host/builtins/complete.o: $(wildcard etc/completion/*) # it holds the scripts

# ---- libraries, host, plugins ---------------------------------------------------------------------------------------------------------
MAP = $(if $(filter Darwin,$(OS)),,-Wl,--version-script=etc/$(1).map)
$(LIB_core): $(CORE_O) etc/libetk.map
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) $(LINK) $(call SO_FLAGS,libetk.so.1) $(call MAP,libetk) $(CORE_O) -o $@ $(LDFLAGS) $(LIBS_core)
	$(Q)ln -sf libetk.so.1 $(B)/lib/libetk.so
# The other libraries stand on libetk alone.
define LIBRARY_RULE
$(LIB_$(1)): $($(2)) $(LIB_core) etc/libetk-$(1).map
	@mkdir -p $$(@D)
	$$(call say,LD,$$@) $$(CC) $$(LINK) $$(call SO_FLAGS,libetk-$(1).so.0) $$(call MAP,libetk-$(1)) $($(2)) -o $$@ -Wl,-rpath,$$(ORIGIN) -L$(B)/lib -letk $$(LDFLAGS) $(LIBS_$(1))
	$$(Q)ln -sf libetk-$(1).so.0 $(B)/lib/libetk-$(1).so
endef
$(eval $(call LIBRARY_RULE,ml,ML_O))
$(eval $(call LIBRARY_RULE,io,IO_O))
$(eval $(call LIBRARY_RULE,net,NET_O))
$(eval $(call LIBRARY_RULE,media,MEDIA_O))
$(EXE): $(HOST_O) $(LIB_core)
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) $(LINK) -rdynamic $(HOST_O) -o $@ -Wl,-rpath,$(ORIGIN)/../lib -L$(B)/lib -letk $(LDFLAGS) $(LIBS_host)
# Beside a plugin lie its data/ folder, under its namespace, and its README, from which help takes its examples.
define PLUGIN_RULE
$(PLUGIN_DIR)/libproj-$(1).so: $(call o,$(wildcard plugins/$(1)/*.c)) $(LIB_ml) $(LIB_net) $(LIB_core) etc/plugin.map
	@mkdir -p $$(@D)
	$$(call say,LD,$$@) $$(CC) $$(LINK) $$(call SO_FLAGS,libproj-$(1).so) $$(call MAP,plugin) $$(filter %.o,$$^) -o $$@ -Wl,-rpath,$$(ORIGIN)/../.. -L$(B)/lib -letk-ml -letk-net -letk $$(LDFLAGS) -ljansson -lm
	$$(Q)if [ -d plugins/$(1)/data ]; then rm -rf $(PLUGIN_DIR)/$(1); ln -s $$(abspath plugins/$(1)/data) $(PLUGIN_DIR)/$(1); fi
	$$(Q)ln -sf $$(abspath plugins/$(1)/README.md) $(PLUGIN_DIR)/libproj-$(1).md
endef
$(foreach p,$(PLUGINS),$(eval $(call PLUGIN_RULE,$(p))))
$(B)/share/efficientai-toolkit/profiles:
	@mkdir -p $(@D)
	$(Q)ln -sfn $(abspath etc/profiles) $@

# ---- tests ----------------------------------------------------------------------------------------------------------------------------
# Test programs link the objects themselves, so that internals can be reached too.
TEST_C := $(wildcard tests/host/*.c tests/sdk/*.c tests/plugins/*.c)
TEST_EXE := $(patsubst tests/%.c,$(B)/tests/%,$(TEST_C))
FUZZ := $(patsubst tests/fuzz/%.c,%,$(filter-out tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c)))
REPLAY_EXE := $(foreach f,$(FUZZ),$(B)/tests/fuzz/$(f))
BENCH_EXE := $(patsubst bench/%.c,$(B)/bench/%,$(wildcard bench/*.c))
PLUGIN_DOMAIN_O := $(call o,$(filter-out %/project.c,$(wildcard plugins/*/*.c)))
$(B)/obj/core.a: $(CORE_O)
$(B)/obj/ml.a: $(ML_O)
$(B)/obj/io.a: $(IO_O)
$(B)/obj/net.a: $(NET_O)
$(B)/obj/media.a: $(MEDIA_O)
$(B)/obj/host.a: $(filter-out %/host/main.o,$(HOST_O))
$(B)/obj/plugins.a: $(PLUGIN_DOMAIN_O)
$(B)/obj/%.a:
	$(Q)rm -f $@; ar rcs $@ $^
ALL_A := $(foreach a,host plugins ml net io media core,$(B)/obj/$(a).a)
ALL_LIBS = $(LIBS_host) $(LIBS_ml) $(LIBS_net) $(LIBS_io) $(LIBS_media) $(LIBS_core)
$(B)/tests/fuzz/%: $(B)/obj/tests/fuzz/%.o $(B)/obj/tests/fuzz/replay.o $(ALL_A)
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) $(LINK) $(filter %.o,$^) $(ALL_A) -o $@ $(LDFLAGS) $(ALL_LIBS)
$(B)/tests/%: $(B)/obj/tests/%.o $(ALL_A)
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) $(LINK) -rdynamic $< $(ALL_A) -o $@ $(LDFLAGS) -lcmocka $(ALL_LIBS)
$(B)/bench/%: $(B)/obj/bench/%.o $(ALL_A)
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) $(LINK) $< $(ALL_A) -o $@ $(LDFLAGS) $(ALL_LIBS)

.PHONY: tests check check-arm64 demo bench bench-peers docs fuzz coverage install clean deps
tests: all $(TEST_EXE) $(REPLAY_EXE)
check: tests
	$(Q)B=$(B) SAN=$(SAN) CC="$(CC)" sh tests/run
# Cross-built and run under qemu-user; the script installs what it needs and builds in build-arm64/.
check-arm64:
	$(Q)env -u MAKEFLAGS -u MAKELEVEL sh tests/run-arm64
demo: all
	$(Q)sh etc/demo.sh $(B)
bench: all $(BENCH_EXE)
	$(Q)B=$(B) sh bench/run
# Other programs beside ours, by turns (bench/README.md); BENCH_ARGS chooses rows.
bench-peers: all $(B)/bench/limits $(addprefix $(B)/bench/peers/,measure random_model product encoder)
	$(Q)B=$(B) sh bench/peers/bench.sh $(BENCH_ARGS)
# The committed reference and manual page; a test compares them.
docs: all
	$(Q)mkdir -p etc/docs etc/man && export XDG_DATA_HOME=/nonexistent EFFICIENTAI_PLUGIN_PATH=; $(EXE) docs > etc/docs/commands.md && $(EXE) docs --man > etc/man/efficientai-toolkit.1
deps:
	$(Q)sh etc/deps.sh build check
clean:
	rm -rf build build-*

# libFuzzer needs clang: everything is built again with its instrumentation.
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang B=build-fuzz CFLAGS="$(FUZZ_FLAGS)" LDFLAGS="-fsanitize=fuzzer,address,undefined" fuzz-programs
	$(Q)for f in $(FUZZ); do mkdir -p build-fuzz/corpus/$$f; echo "fuzz $$f ($(FUZZ_SECONDS) s)"; \
	  build-fuzz/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -artifact_prefix=build-fuzz/$$f- \
	    build-fuzz/corpus/$$f tests/fuzz/seeds/$$f > build-fuzz/$$f.log 2>&1 || { tail -40 build-fuzz/$$f.log; exit 1; }; \
	  grep -E 'stat::number_of_executed_units|cov:' build-fuzz/$$f.log | tail -2; done
.PHONY: fuzz-programs
fuzz-programs: $(foreach f,$(FUZZ),$(B)/fuzz/$(f))
$(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(ALL_A)
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) $< $(ALL_A) -o $@ $(LDFLAGS) $(ALL_LIBS)

# gcov counts some branches below zero where a test leaves by longjmp; such branch records are left out, lines are not touched.
coverage:
	$(Q)rm -rf build-coverage
	$(Q)$(MAKE) --no-print-directory COVERAGE=1 B=build-coverage CFLAGS="-O0 -g" check
	$(Q)gcovr -r . --object-directory build-coverage/obj --filter 'host/' --filter 'sdk/' --exclude-unreachable-branches --gcov-ignore-parse-errors \
	  --print-summary -o build-coverage/coverage.txt 2>build-coverage/gcovr.log && tail -4 build-coverage/coverage.txt

# ---- install --------------------------------------------------------------------------------------------------------------------------
D = $(DESTDIR)$(PREFIX)
install: all
	$(Q)install -d $(D)/bin $(D)/lib/pkgconfig $(D)/lib/efficientai-toolkit/plugins $(D)/include/etk $(D)/share/efficientai-toolkit/profiles $(D)/share/doc/efficientai-toolkit
	$(Q)install -m 755 $(EXE) $(D)/bin/
	$(Q)for l in libetk:1 libetk-ml:0 libetk-io:0 libetk-net:0 libetk-media:0; do n=$${l%:*}; v=$${l#*:}; install -m 755 $(B)/lib/$$n.so.$$v $(D)/lib/; ln -sf $$n.so.$$v $(D)/lib/$$n.so; done
	$(Q)install -m 644 sdk/include/etk/*.h $(D)/include/etk/
	$(Q)install -m 755 $(PLUGIN_SO) $(D)/lib/efficientai-toolkit/plugins/
	$(Q)for p in $(PLUGINS); do install -m 644 plugins/$$p/README.md $(D)/lib/efficientai-toolkit/plugins/libproj-$$p.md; [ -d plugins/$$p/data ] || continue; (cd plugins/$$p/data && find . -type f) | while read -r f; do install -D -m 644 plugins/$$p/data/$$f $(D)/lib/efficientai-toolkit/plugins/$$p/$$f; done; done
	$(Q)install -m 644 etc/profiles/* $(D)/share/efficientai-toolkit/profiles/
	$(Q)for n in etk etk-ml etk-io etk-net etk-media; do sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' etc/$$n.pc.in > $(D)/lib/pkgconfig/$$n.pc; done
	$(Q)install -m 644 README.md LICENSE etc/docs/commands.md $(D)/share/doc/efficientai-toolkit/
	$(Q)install -D -m 644 etc/man/efficientai-toolkit.1 $(D)/share/man/man1/efficientai-toolkit.1
	$(Q)install -D -m 644 etc/completion/efficientai-toolkit.bash $(D)/share/bash-completion/completions/efficientai-toolkit
	$(Q)install -D -m 644 etc/completion/_efficientai-toolkit $(D)/share/zsh/site-functions/_efficientai-toolkit
	$(Q)install -D -m 644 etc/completion/efficientai-toolkit.fish $(D)/share/fish/vendor_completions.d/efficientai-toolkit.fish
	@echo "installed in $(D)"

-include $(patsubst %.o,%.d,$(CORE_O) $(ML_O) $(IO_O) $(NET_O) $(MEDIA_O) $(HOST_O) $(PLUGIN_DOMAIN_O)) $(wildcard $(B)/obj/plugins/*/*.d $(B)/obj/tests/*/*.d $(B)/obj/bench/*.d $(B)/obj/bench/peers/*.d)
