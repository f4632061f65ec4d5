/* PyTorch files that lie, and pickles that name what is no tensor: one error each, which says where and why. */
#include "ml_golden.h"
#include "ml_torch_bytes.h"

#include <etk/torch.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void refused(etk_status status, const char *part) {
  etk_torch *file = (void *)1;
  unsigned char *exact = malloc(made_size + 1); /* its own block, so that a sanitizer sees a read past the end */
  memcpy(exact, made, made_size);
  fails_with(status, part, etk_torch_parse(e, &file, "x.pth", exact, made_size));
  assert_null(file);
  free(exact);
}
/* The pickle between its PROTO and STOP, in an archive with a storage of two floats. */
static void pickle_refused(etk_status status, const char *part, const void *bytes, size_t size) {
  begin();
  OP("\x80\2"), op(bytes, size), OP(".");
  make_zip("\0\0\0\0\0\0\0\0", 8);
  refused(status, part);
}
#define REFUSED(status, part, literal) pickle_refused(status, part, literal, sizeof literal - 1)

static void nothing_but_tensors_and_containers_may_be_named(void **state) {
  (void)state;
  REFUSED(ETK_E_UNSUPPORTED, "m/data.pkl, byte 2: the pickle names 'os.system'", "cos\nsystem\nX\2\0\0\0ls\x85R");
  REFUSED(ETK_E_UNSUPPORTED, "'posix.system'", "cposix\nsystem\nX\2\0\0\0ls\x85R");
  REFUSED(ETK_E_UNSUPPORTED, "'builtins.eval'",
          "cbuiltins\neval\nX\1\0\0\0"
          "1\x85R");
  REFUSED(ETK_E_UNSUPPORTED, "'__builtin__.exec'",
          "c__builtin__\nexec\nX\1\0\0\0"
          "1\x85R");
  REFUSED(ETK_E_UNSUPPORTED, "'subprocess.Popen'", "csubprocess\nPopen\n)R");
  REFUSED(ETK_E_UNSUPPORTED, "'builtins.getattr'", "X\10\0\0\0builtinsX\7\0\0\0getattr\x93");
  REFUSED(ETK_E_UNSUPPORTED, "byte 16: the pickle names 'os.system'", "\x8c\2os\x94\x8c\6system\x94\x93)R");
  REFUSED(ETK_E_UNSUPPORTED, "'torch._utils._rebuild_qtensor'", "ctorch._utils\n_rebuild_qtensor\n)R");
  REFUSED(ETK_E_UNSUPPORTED, "'torch.load'", "ctorch\nload\n)R");
  REFUSED(ETK_E_UNSUPPORTED, "'torch.serialization.load'", "ctorch.serialization\nload\n)R");
  REFUSED(ETK_E_UNSUPPORTED, "'o?s.system'", "co\033s\nsystem\n)R");
  REFUSED(ETK_E_UNSUPPORTED, "operation 0x81", ")ccollections\nOrderedDict\n)\x81");
  REFUSED(ETK_E_UNSUPPORTED, "operation 0x69", "(ios\nsystem\n");
  REFUSED(ETK_E_UNSUPPORTED, "operation 0x6f", "(]o");
  REFUSED(ETK_E_UNSUPPORTED, "operation 0x82", "\x82\1");
  REFUSED(ETK_E_UNSUPPORTED, "'torch.FloatStorage' is called", "ctorch\nFloatStorage\n)R");
  REFUSED(ETK_E_FORMAT, "a text is called with a tuple", "X\1\0\0\0a)R");
  REFUSED(ETK_E_UNSUPPORTED, "attributes other than '_metadata'", "ccollections\nOrderedDict\n)R}X\1\0\0\0aNsb");
  REFUSED(ETK_E_UNSUPPORTED, "only an OrderedDict has them", "}}b");
}

static void a_stack_that_does_not_add_up_is_refused(void **state) {
  (void)state;
  REFUSED(ETK_E_FORMAT, "byte 2: the stack is empty", "0");
  REFUSED(ETK_E_FORMAT, "the stack is empty", "(0");
  REFUSED(ETK_E_FORMAT, "no mark", "]e");
  REFUSED(ETK_E_FORMAT, "with 2 values on the stack", "NN");
  REFUSED(ETK_E_FORMAT, "with 0 values", "");
  REFUSED(ETK_E_FORMAT, "inside a group", "(");
  REFUSED(ETK_E_FORMAT, "a tuple of 3 where the stack holds 1", "N\x87");
  REFUSED(ETK_E_FORMAT, "not keys and values", "}(Nu");
  REFUSED(ETK_E_FORMAT, "items are added to a dictionary", "}(Ne");
  REFUSED(ETK_E_FORMAT, "items are added to nothing", "(Ne");
  REFUSED(ETK_E_FORMAT, "holds too little", "Na");
  REFUSED(ETK_E_FORMAT, "memo 9 was never set", "h\11");
  REFUSED(ETK_E_FORMAT, "memo 4294967295 is set after 3 bytes", "Nr\xff\xff\xff\xff");
  REFUSED(ETK_E_FORMAT, "truncated",
          "\x8a\x09"
          "12");
  REFUSED(ETK_E_UNSUPPORTED, "a whole number of 9 bytes",
          "\x8a\x09"
          "123456789");
  REFUSED(ETK_E_FORMAT, "truncated: 16777216 bytes are wanted", "X\0\0\0\1abc");
  REFUSED(ETK_E_FORMAT, "not UTF-8", "X\1\0\0\0\xff");
  REFUSED(ETK_E_FORMAT, "a frame of", "\x95\xff\xff\xff\xff\xff\xff\xff\x7fN");
  REFUSED(ETK_E_UNSUPPORTED, "pickle protocol 9", "\x80\11N");
  REFUSED(ETK_E_FORMAT, "without its end", "cos");
}

static void containers_that_hold_themselves_or_explode_are_refused(void **state) {
  (void)state;
  REFUSED(ETK_E_FORMAT, "hold themselves", "]q\0h\0a");
  REFUSED(ETK_E_FORMAT, "hold themselves", "}q\0X\1\0\0\0ah\0s");
  begin(); /* ten of ten of ten … */
  OP("\x80\2]q\1(NNNNNNNNNNe0");
  for (int i = 2; i < 14; i++) {
    unsigned char last[2] = {'h', (unsigned char)(i - 1)};
    op((unsigned char[]){']', 'q', (unsigned char)i, '('}, 4);
    for (int j = 0; j < 10; j++) op(last, 2);
    OP("e0");
  }
  OP("h\15.");
  make_zip("\0\0\0\0\0\0\0\0", 8);
  refused(ETK_E_FORMAT, "more names than");
  REFUSED(ETK_E_FORMAT, "two values are called 'a.b'", "}(X\3\0\0\0a.bNX\1\0\0\0a}X\1\0\0\0bNsu");
  REFUSED(ETK_E_UNSUPPORTED, "None for a key", "}NNs");
  REFUSED(ETK_E_FORMAT, "empty or holds a zero byte", "}X\0\0\0\0Ns");
  REFUSED(ETK_E_UNSUPPORTED, "x.pth holds None, and no tensor", "N");
  REFUSED(ETK_E_UNSUPPORTED, "'a' is bytes", "}X\1\0\0\0aC\1zs");
  REFUSED(ETK_E_UNSUPPORTED, "'a' is a type or function", "}X\1\0\0\0actorch\nfloat32\ns");
}

static void bad_tensor(etk_status status, const char *part, const char *class, const char *key, int elements, int offset, int d0, int s0) {
  begin();
  OP("\x80\2"), rebuild_begin(class, key, elements), op_int(offset), op_int(d0), OP("\x85"), op_int(s0), OP("\x85"), rebuild_end(), OP(".");
  make_zip("\0\0\0\0\0\0\0\0", 8);
  refused(status, part);
}
static void tensors_beyond_their_storage_are_refused(void **state) {
  (void)state;
  bad_tensor(ETK_E_FORMAT, "shape (3) from element 0 reaches beyond its storage '0' of 2 elements", "FloatStorage", "0", 2, 0, 3, 1);
  bad_tensor(ETK_E_FORMAT, "reaches beyond", "FloatStorage", "0", 2, 1, 2, 1);
  bad_tensor(ETK_E_FORMAT, "reaches beyond", "FloatStorage", "0", 2, 0, 2, 2147483647);
  bad_tensor(ETK_E_FORMAT, "reaches beyond", "FloatStorage", "0", 2, 3, 0, 1);
  bad_tensor(ETK_E_FORMAT, "offset of a tensor is -1", "FloatStorage", "0", 2, -1, 1, 1);
  bad_tensor(ETK_E_FORMAT, "shape is -4", "FloatStorage", "0", 2, 0, -4, 1);
  bad_tensor(ETK_E_FORMAT, "strides is -1", "FloatStorage", "0", 2, 0, 2, -1);
  bad_tensor(ETK_E_FORMAT, "should take 12 bytes, but the archive has 8", "FloatStorage", "0", 3, 0, 2, 1);
  bad_tensor(ETK_E_FORMAT, "no storage 'm/data/7'", "FloatStorage", "7", 2, 0, 2, 1);
  bad_tensor(ETK_E_FORMAT, "no storage 'm/data/../0'", "FloatStorage", "../0", 2, 0, 2, 1);
  bad_tensor(ETK_E_FORMAT, "size of a storage is -2", "FloatStorage", "0", -2, 0, 2, 1);
  bad_tensor(ETK_E_FORMAT, "class of a storage is", "float32", "0", 2, 0, 2, 1);
  bad_tensor(ETK_E_UNSUPPORTED, "'torch.QInt8Storage'", "QInt8Storage", "0", 2, 0, 2, 1);
  REFUSED(ETK_E_FORMAT, "persistent id", "NQ");
  REFUSED(ETK_E_FORMAT, "_rebuild_tensor_v2 with 0 arguments", "ctorch._utils\n_rebuild_tensor_v2\n)R");
  REFUSED(ETK_E_FORMAT, "must be a storage, not None", "ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR");
  REFUSED(ETK_E_FORMAT, "must be a tensor, not None", "ctorch._utils\n_rebuild_parameter\nNNN\x87R");
}

/* ---- archives ---- */

static void archive(etk_status status, const char *part, const member *members, size_t count) {
  make_archive(members, count);
  refused(status, part);
}
static void a_good_one(void) {
  begin();
  OP("\x80\2"), tensor_of("FloatStorage", "0", 2, 2), OP(".");
  make_zip("\0\0\0\0\0\0\0\0", 8);
}
static size_t find_bytes(const char *what, size_t size, int nth) {
  for (size_t i = 0; i + size <= made_size; i++)
    if (!memcmp(made + i, what, size) && !nth--) return i;
  fail_msg("not there");
  return 0;
}
static void patched(etk_status status, const char *part, const char *mark, int nth, size_t offset, unsigned value, int bytes) {
  a_good_one();
  size_t at = find_bytes(mark, 4, nth) + offset;
  for (int i = 0; i < bytes; i++) made[at + (size_t)i] = (unsigned char)(value >> (8 * i));
  refused(status, part);
}
static void archives_that_lie_are_refused(void **state) {
  (void)state;
  const member good = {"m/data.pkl", "\x80\2}.", 4, 0};
  archive(ETK_E_FORMAT, "'../x' (directory at byte", (member[]){good, {"../x", "", 0, 0}}, 2);
  archive(ETK_E_FORMAT, "leaves the folder", (member[]){good, {"/etc/x", "", 0, 0}}, 2);
  archive(ETK_E_FORMAT, "leaves the folder", (member[]){good, {"m/../../x", "", 0, 0}}, 2);
  archive(ETK_E_FORMAT, "two entries are called 'm/a'", (member[]){good, {"m/a", "", 0, 0}, {"m/a", "", 0, 0}}, 3);
  archive(ETK_E_FORMAT, "none is NAME/data.pkl", (member[]){{"m/data", "", 0, 0}}, 1);
  archive(ETK_E_FORMAT, "both 'm/data.pkl' and 'n/data.pkl'", (member[]){good, {"n/data.pkl", "\x80\2}.", 4, 0}}, 2);
  archive(ETK_E_UNSUPPORTED, "TorchScript", (member[]){good, {"m/constants.pkl", "", 0, 0}}, 2);
  archive(ETK_E_FORMAT, "neither 'little' nor 'big'", (member[]){good, {"m/byteorder", "middle", 6, 0}}, 2);
  archive(ETK_E_FORMAT, "1 bytes follow the pickle", (member[]){{"m/data.pkl", "\x80\2}.x", 5, 0}}, 1);
  archive(ETK_E_FORMAT, "no pickle of protocol 2", (member[]){{"m/data.pkl", "", 0, 0}}, 1);
  static const char central[] = "PK\1\2", local[] = "PK\3\4", end[] = "PK\5\6";
  patched(ETK_E_UNSUPPORTED, "is encrypted", central, 0, 8, 1, 2);
  patched(ETK_E_UNSUPPORTED, "is encrypted", local, 0, 6, 1, 2);
  patched(ETK_E_UNSUPPORTED, "method 12", central, 0, 10, 12, 2);
  patched(ETK_E_FORMAT, "another compression method", central, 0, 10, 8, 2);
  patched(ETK_E_FORMAT, "is stored, but takes", central, 0, 24, 1, 4);
  patched(ETK_E_FORMAT, "needs a zip64 field", central, 0, 20, 0xffffffff, 4);
  patched(ETK_E_FORMAT, "another name than the directory's 'm/byteorder'", central, 1, 42, 0, 4);
  patched(ETK_E_FORMAT, "inside entry 'm/data.pkl'", local, 0, 28, 24, 1);
  patched(ETK_E_FORMAT, "beyond the data", central, 2, 42, 0x7fffffff, 4);
  patched(ETK_E_FORMAT, "no local header", central, 2, 42, 1, 4);
  patched(ETK_E_UNSUPPORTED, "disk 3", central, 0, 34, 3, 2);
  patched(ETK_E_UNSUPPORTED, "several disks", end, 0, 4, 1, 2);
  patched(ETK_E_FORMAT, "the directory should be", end, 0, 16, 5, 4);
  patched(ETK_E_FORMAT, "5 entries do not fit", end, 0, 8, 0x00050005, 4);
  patched(ETK_E_FORMAT, "no directory entry at byte", central, 1, 0, 0, 1);
  patched(ETK_E_FORMAT, "belong to no entry", end, 0, 8, 0x00030003, 4);
  patched(ETK_E_FORMAT, "another name", local, 0, 30, 'z', 1);
}

static void a_deflated_pickle_is_read_and_a_bomb_is_not(void **state) {
  (void)state;
  static unsigned char zeros[1 << 19];
  etk_torch *file;
  make_archive((member[]){{"m/data.pkl", "\x80\2}X\1\0\0\0aNs.", 12, 8}}, 1);
  works(etk_torch_parse(e, &file, "x.pth", made, made_size));
  assert_string_equal(etk_torch_value_at(file, 0)->name, "a");
  works(etk_torch_verify(e, file));
  etk_torch_close(file);
  size_t at = find_bytes("PK\1\2", 4, 0);
  made[at + 16] ^= 1;
  refused(ETK_E_FORMAT, "is damaged: its CRC-32");
  make_archive((member[]){{"m/data.pkl", zeros, sizeof zeros, 8}}, 1);
  at = find_bytes("PK\1\2", 4, 0);
  made[at + 24 + 3] = 0x70; /* says 1.9 GB */
  refused(ETK_E_FORMAT, "would inflate to");
  make_archive((member[]){{"m/data.pkl", zeros, 4096, 8}}, 1);
  made[find_bytes("PK\1\2", 4, 0) + 24] ^= 1;
  refused(ETK_E_FORMAT, "does not inflate to its 4097 bytes");
}

static void other_forms_are_named(void **state) {
  (void)state;
  made_size = 0, raw("\x80\4}.", 4);
  refused(ETK_E_UNSUPPORTED, "a bare pickle (protocol 4)");
  memset(made, 0, 512), memcpy(made + 257, "ustar", 5), made_size = 512;
  refused(ETK_E_UNSUPPORTED, "a tar archive");
  made_size = 0;
  refused(ETK_E_FORMAT, "its 0 bytes begin neither");
  raw("GGUF", 4);
  refused(ETK_E_FORMAT, "begin neither as a ZIP archive");
}

/* ---- the older form ---- */

static void chain(const char *system, size_t system_size, const char *keys, size_t keys_size, const char *rest, size_t rest_size) {
  begin();
  OP("\x80\2\x8a\12\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3."), op(system, system_size);
  OP("\x80\2"
     "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0kX\3\0\0\0cpuK\2NtQK\0K\2\x85K\1\x85");
  rebuild_end();
  OP("."), op(keys, keys_size), op(rest, rest_size);
  made_size = 0, raw(pickled, pickled_size);
}
#define SYSTEM                    "\x80\2}X\15\0\0\0little_endian\x88s."
#define KEYS                      "\x80\2]X\1\0\0\0ka."
#define VALUES                    "\2\0\0\0\0\0\0\0\0\0\x80?\0\0\0@"
#define CHAIN(system, keys, rest) chain(system, sizeof system - 1, keys, sizeof keys - 1, rest, sizeof rest - 1)
static void the_older_form_is_read_and_checked(void **state) {
  (void)state;
  etk_torch *file;
  etk_tensor *tensor;
  CHAIN(SYSTEM, KEYS, VALUES);
  works(etk_torch_parse(e, &file, "x.pth", made, made_size));
  works(etk_torch_tensor(e, &tensor, file, "tensor"));
  assert_true(((float *)etk_tensor_data(tensor))[0] == 1 && ((float *)etk_tensor_data(tensor))[1] == 2);
  etk_tensor_unref(tensor);
  etk_torch_close(file);
  CHAIN("\x80\2}.", KEYS, VALUES), refused(ETK_E_FORMAT, "whether the values are little-endian");
  CHAIN(SYSTEM, "\x80\2].", VALUES), refused(ETK_E_FORMAT, "storage 'k' is not in the file");
  CHAIN(SYSTEM, "\x80\2]X\1\0\0\0za.", VALUES), refused(ETK_E_FORMAT, "no tensor asked for the storage 'z'");
  CHAIN(SYSTEM, "\x80\2](X\1\0\0\0kX\1\0\0\0ke.", VALUES), refused(ETK_E_FORMAT, "a second time");
  CHAIN(SYSTEM, KEYS, "\3\0\0\0\0\0\0\0\0\0\x80?\0\0\0@"), refused(ETK_E_FORMAT, "has 3 elements here, and 2 were asked for");
  CHAIN(SYSTEM, KEYS, "\2\0\0\0\0\0\0\0\0"), refused(ETK_E_FORMAT, "takes 8 bytes and 1 are left");
  CHAIN(SYSTEM, KEYS, VALUES "x"), refused(ETK_E_FORMAT, "1 bytes follow the last storage");
  CHAIN(SYSTEM, "\x80\2N.", VALUES), refused(ETK_E_FORMAT, "None instead of a list");
}

static void truncation_at_every_byte_is_refused(void **state) {
  (void)state;
  for (int older = 0; older < 2; older++) {
    if (older) CHAIN(SYSTEM, KEYS, VALUES);
    else a_good_one();
    size_t whole = made_size;
    for (size_t n = 0; n < whole; n++) {
      unsigned char *cut = malloc(n + 1);
      memcpy(cut, made, n);
      etk_error error = ETK_ERROR_INIT;
      etk_torch *file;
      assert_int_not_equal(etk_torch_parse(&error, &file, "x.pth", cut, n), ETK_OK);
      assert_true(strstr(error.message, "x.pth") != NULL);
      free(cut);
    }
  }
}

/* In a process of its own: how far its peak grows while the file is refused, in bytes. */
static void stays_within_the_bound(void) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) {
    struct rusage before, after;
    etk_torch *file;
    getrusage(RUSAGE_SELF, &before);
    etk_torch_parse(NULL, &file, "x.pth", made, made_size);
    getrusage(RUSAGE_SELF, &after);
    _exit((size_t)(after.ru_maxrss - before.ru_maxrss) * 1024 > 10 * made_size + ((size_t)16 << 20));
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
#endif
}

static void memory_stays_below_ten_times_the_file_and_is_given_back(void **state) {
  (void)state;
  static const char *const dense[] = {"]", "}", "2", "(", "]q\1", "K\1"};
  for (size_t i = 0; i < sizeof dense / sizeof *dense; i++) {
    begin();
    OP("\x80\2N");
    while (pickled_size + 8 < BYTES_MAX) op(dense[i], strlen(dense[i]));
    OP(".");
    make_zip("", 0);
    stays_within_the_bound();
    struct mallinfo2 before = mallinfo2();
    etk_error error = ETK_ERROR_INIT;
    etk_torch *file;
    assert_int_not_equal(etk_torch_parse(&error, &file, "x.pth", made, made_size), ETK_OK);
    struct mallinfo2 after = mallinfo2();
    assert_true(after.uordblks + after.hblkhd <= before.uordblks + before.hblkhd + 65536); /* all of it is given back */
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_but_tensors_and_containers_may_be_named),
      cmocka_unit_test(a_stack_that_does_not_add_up_is_refused),
      cmocka_unit_test(containers_that_hold_themselves_or_explode_are_refused),
      cmocka_unit_test(tensors_beyond_their_storage_are_refused),
      cmocka_unit_test(archives_that_lie_are_refused),
      cmocka_unit_test(a_deflated_pickle_is_read_and_a_bomb_is_not),
      cmocka_unit_test(other_forms_are_named),
      cmocka_unit_test(the_older_form_is_read_and_checked),
      cmocka_unit_test(truncation_at_every_byte_is_refused),
      cmocka_unit_test(memory_stays_below_ten_times_the_file_and_is_given_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
