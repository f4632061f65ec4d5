/* Tests of etk/archive.h. Hostile tars are made of bytes (POSIX.1-2001, pax, "ustar interchange format"), hostile zips by libarchive, honest ones by the
 * system's tools where they are there. */
#include "../folder.h"
#include "../starve.h"
#include <archive.h>
#include <archive_entry.h>
#include "etk/archive.h"
#include "etk/text.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s/etk-archive-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  return etk_fs_remove_tree(NULL, folder) == ETK_OK ? 0 : -1;
}

static bool shell(const char *format, ...) {
  char command[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(command, sizeof command, format, arguments);
  va_end(arguments);
  return system(command) == 0;
}

/* ---- tars of bytes ---- */

static void octal(char *field, size_t size, unsigned long long value) {
  for (size_t i = size - 1; i-- > 0; value >>= 3) field[i] = (char)('0' + (value & 7));
}

/* type: '0' file, '1' hard link, '2' link, '3' device, '5' folder, '6' fifo */
static void tar_header(etk_text *tar, const char *name, char type, const char *target, unsigned long long size) {
  char h[512] = {0};
  snprintf(h, 100, "%s", name);
  octal(h + 100, 8, type == '5' ? 0755 : 04755);
  octal(h + 108, 8, 0);
  octal(h + 116, 8, 0);
  octal(h + 124, 12, size);
  octal(h + 136, 12, 1000000000);
  memset(h + 148, ' ', 8);
  h[156] = type;
  snprintf(h + 157, 100, "%s", target ? target : "");
  memcpy(h + 257, "ustar\0" "00", 8);
  unsigned sum = 0;
  for (size_t i = 0; i < 512; i++) sum += (unsigned char)h[i];
  snprintf(h + 148, 7, "%06o", sum);
  etk_text_append(tar, h, 512);
}

static void tar_data(etk_text *tar, const char *bytes, size_t size) {
  static const char zeros[512];
  etk_text_append(tar, bytes, size);
  etk_text_append(tar, zeros, (512 - size % 512) % 512);
}

static void tar_file(etk_text *tar, const char *name, const char *text) {
  tar_header(tar, name, '0', NULL, strlen(text));
  tar_data(tar, text, strlen(text));
}

static void tar_end(etk_text *tar, const char *name) {
  static const char zeros[1024];
  etk_text_append(tar, zeros, 1024);
  put_bytes(name, tar->data, tar->size);
  etk_text_free(tar);
}

/* The extraction of `name` fails with this status and words, and leaves nothing. */
static void is_refused(const char *name, const etk_archive_limits *limits, etk_status wanted, const char *words) {
  size_t before = entries(folder);
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_archive_extract(&e, at(name), at("into"), false, limits);
  if (status != wanted || !strstr(e.message, words)) fail_msg("'%s' is wanted (%d); seen %d '%s'", words, wanted, status, e.message);
  assert_int_equal(entries(folder), before);
}

typedef struct row {
  char type;
  const char *name, *target;
} row;

static void a_hostile_tar_is_refused_and_leaves_nothing(void **state) {
  (void)state;
  static const struct {
    row rows[3];
    const char *words;
  } cases[] = {
      {{{'0', "/etc/x", 0}}, "'/etc/x' has an absolute path"},
      {{{'0', "../x", 0}}, "'../x' has '..'"},
      {{{'0', "a/../../x", 0}}, "has '..'"},
      {{{'0', "a/..", 0}}, "has '..'"},
      {{{'0', "..\\x", 0}}, "a backslash"},
      {{{'0', "C:/x", 0}}, "a drive letter"},
      {{{'5', "/", 0}}, "absolute"},
      {{{'2', "way", "/etc"}}, "'way' is a link to an absolute path"},
      {{{'2', "way", ".."}}, "leads out"},
      {{{'2', "a/way", "../.."}}, "leads out"},
      {{{'2', "a/way", "./../.././b"}}, "leads out"},
      {{{'2', "way", "a/../.."}}, "'..' behind a name"},
      {{{'5', "d", 0}, {'2', "d/up", ".."}, {'2', "way", "d/up/.."}}, "'..' behind a name"},
      {{{'2', "way", "d"}, {'0', "way/file", 0}}, "'way/file' goes through a link"},
      {{{'2', "Way", "d"}, {'0', "way/file", 0}}, "'way/file' goes through a link"},
      {{{'5', "d", 0}, {'2', "way", "d"}, {'5', "way/inner", 0}}, "goes through a link"},
      {{{'2', "way", "d"}, {'0', "way", 0}}, "'way' is there twice"},
      {{{'2', "way", "d"}, {'0', "WAY", 0}}, "only in case"},
      {{{'0', "way", 0}, {'2', "WAY", "d"}}, "only in case"},
      {{{'0', "a", 0}, {'0', "a", 0}}, "'a' is there twice"},
      {{{'0', "a", 0}, {'0', "./a", 0}}, "'a' is there twice"},
      {{{'5', "a", 0}, {'5', "a/", 0}}, "'a' is there twice"},
      {{{'0', "a", 0}, {'0', "a/b", 0}}, "goes through a file"},
      {{{'0', "a/b", 0}, {'0', "a", 0}}, "'a' is there twice"},
      {{{'1', "a", "/etc/passwd"}}, "hard link that leads out"},
      {{{'1', "a", "../../etc/passwd"}}, "hard link that leads out"},
      {{{'1', "a", "b"}}, "not a file before it"},
      {{{'2', "l", "x"}, {'1', "a", "l"}}, "not a file before it"},
      {{{'5', "d", 0}, {'1', "a", "d"}}, "not a file before it"},
      {{{'3', "dev", 0}}, "'dev' is a device"},
      {{{'4', "dev", 0}}, "is a device"},
      {{{'6', "pipe", 0}}, "is a device, pipe"},
      {{{'0', "bad\nname/../x", 0}}, "'bad?name/../x'"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_text tar = ETK_TEXT_INIT;
    tar_file(&tar, "first", "fine");
    for (size_t k = 0; k < 3 && cases[i].rows[k].name; k++) {
      const row *r = &cases[i].rows[k];
      if (r->type == '0') tar_file(&tar, r->name, "hostile");
      else tar_header(&tar, r->name, r->type, r->target, 0);
    }
    tar_end(&tar, "x.tar");
    is_refused("x.tar", NULL, ETK_E_INVALID, cases[i].words);
  }
  char deep[1300] = "";
  for (int i = 0; i < 40; i++) snprintf(deep + strlen(deep), sizeof deep - strlen(deep), "d/");
  etk_text tar = ETK_TEXT_INIT;
  tar_file(&tar, deep, "");
  tar_end(&tar, "deep.tar"); /* forty folders are fine */
  assert_int_equal(etk_archive_extract(NULL, at("deep.tar"), at("fine"), false, NULL), ETK_OK);
}

static void links_that_stay_inside_are_made(void **state) {
  (void)state;
  etk_text tar = ETK_TEXT_INIT;
  tar_header(&tar, "./", '5', NULL, 0);
  tar_file(&tar, "a/b/file", "text");
  tar_header(&tar, "a/link", '2', "b/file", 0);
  tar_header(&tar, "a/b/up", '2', "../..", 0); /* the folder itself */
  tar_header(&tar, "a/second", '1', "./a/b/file", 0);
  tar_header(&tar, "empty", '5', NULL, 0);
  tar_end(&tar, "x.tar");
  etk_error e = ETK_ERROR_INIT;
  if (etk_archive_extract(&e, at("x.tar"), at("out"), false, NULL)) fail_msg("%s", e.message);
  holds("out/a/link", "text");
  holds("out/a/second", "text");
  struct stat info;
  assert_int_equal(stat(at("out/a/b/file"), &info), 0);
  assert_int_equal(info.st_nlink, 2);
  assert_int_equal(info.st_mode & 07000, 0); /* no setuid */
  assert_int_equal(info.st_mtime, 1000000000);
  assert_int_equal(stat(at("out/empty"), &info), 0);
  assert_int_equal(info.st_mtime, 1000000000);
  assert_int_equal(etk_archive_extract(&e, at("x.tar"), at("out"), false, NULL), ETK_E_EXISTS);
  assert_int_equal(etk_archive_extract(&e, at("x.tar"), at("out"), true, NULL), ETK_OK);
  assert_int_equal(entries(folder), 2);
}

static void a_bomb_is_stopped_by_the_limits(void **state) {
  (void)state;
  etk_archive_limits limits = ETK_ARCHIVE_LIMITS_INIT;
  etk_text tar = ETK_TEXT_INIT;
  tar_header(&tar, "huge", '0', NULL, 077777777777ULL); /* 8 GiB - 1 */
  tar_data(&tar, "x", 1);
  tar_end(&tar, "huge.tar");
  limits.bytes = (int64_t)1 << 30;
  is_refused("huge.tar", &limits, ETK_E_UNSUPPORTED, "more than the 1073741824 bytes");
  for (int i = 0; i < 5; i++) {
    char name[16];
    snprintf(name, sizeof name, "f%d", i);
    tar_file(&tar, name, "12345678");
  }
  tar_end(&tar, "five.tar");
  limits = (etk_archive_limits){.struct_size = sizeof limits, .entries = 4};
  is_refused("five.tar", &limits, ETK_E_UNSUPPORTED, "more than the 4 entries");
  limits = (etk_archive_limits){.struct_size = sizeof limits, .bytes = 39};
  is_refused("five.tar", &limits, ETK_E_UNSUPPORTED, "more than the 39 bytes");
  limits.bytes = 40;
  assert_int_equal(etk_archive_extract(NULL, at("five.tar"), at("five"), false, &limits), ETK_OK);
  enum { ZEROS = 40 << 20 };
  char *zeros = etk_calloc(1, ZEROS);
  put_bytes("zeros", zeros, ZEROS);
  etk_free(zeros);
  static const char *const names[] = {"bomb.tar.gz", "bomb.tar.zst", "bomb.zip"}, *const paths[] = {"zeros"};
  limits = (etk_archive_limits){.struct_size = sizeof limits, .ratio = 100};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(etk_archive_create(NULL, at(names[i]), folder, paths, 1, false), ETK_OK);
    is_refused(names[i], &limits, ETK_E_UNSUPPORTED, "more than 100 times");
  }
}

/* ---- round trips ---- */

static void make_tree(void) {
  assert_int_equal(etk_fs_make_dirs(NULL, at("tree/b/c")), ETK_OK);
  put_bytes("tree/a", "alpha", 5);
  put_bytes("tree/b/c/gr\xC3\xBC\xC3\x9F", "beta", 4);
  put_bytes("tree/empty", "", 0);
  char *large = etk_calloc(1, 300000);
  for (size_t i = 0; i < 300000; i++) large[i] = (char)(i * i >> 7);
  put_bytes("tree/large", large, 300000);
  etk_free(large);
  assert_int_equal(symlink("b/c", at("tree/link")), 0);
  assert_int_equal(chmod(at("tree/a"), 0750), 0);
  const struct timespec times[2] = {{.tv_sec = 1234567890}, {.tv_sec = 1234567890}};
  assert_int_equal(utimensat(AT_FDCWD, at("tree/a"), times, 0), 0);
}

static const char *const kinds[] = {"x.tar", "x.tar.gz", "x.tgz", "x.tar.zst", "x.zip"};
static const char *const tree[] = {"tree"};

static void what_is_archived_comes_out_the_same(void **state) {
  (void)state;
  make_tree();
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    etk_error e = ETK_ERROR_INIT;
    if (etk_archive_create(&e, at(kinds[i]), folder, tree, 1, false)) fail_msg("%s: %s", kinds[i], e.message);
    assert_int_equal(etk_archive_create(&e, at(kinds[i]), folder, tree, 1, false), ETK_E_EXISTS);
    if (etk_archive_extract(&e, at(kinds[i]), at("out"), i > 0, NULL)) fail_msg("%s: %s", kinds[i], e.message);
    holds("out/tree/a", "alpha");
    holds("out/tree/b/c/gr\xC3\xBC\xC3\x9F", "beta");
    char target[16] = "";
    assert_int_equal(readlink(at("out/tree/link"), target, sizeof target), 3);
    assert_string_equal(target, "b/c");
    struct stat info;
    assert_int_equal(stat(at("out/tree/a"), &info), 0);
    assert_int_equal(info.st_mtime, 1234567890);
    assert_int_equal(info.st_mode & 0777, 0750);
    assert_true(shell("diff -r '%s/tree' '%s/out/tree'", folder, folder));
  }
}

static void an_archive_is_the_same_bytes_again(void **state) {
  (void)state;
  make_tree();
  static const char *const paths[][3] = {{"tree", NULL, NULL}, {"tree/b", "tree", "./tree/a"}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    char other[64];
    snprintf(other, sizeof other, "other-%s", kinds[i]);
    assert_int_equal(etk_archive_create(NULL, at(kinds[i]), folder, paths[0], 1, false), ETK_OK);
    assert_int_equal(etk_archive_create(NULL, at(other), folder, paths[1], 3, false), ETK_OK);
    assert_true(shell("cmp -s '%s/%s' '%s/%s'", folder, kinds[i], folder, other));
  }
}

static void what_cannot_be_archived_is_named(void **state) {
  (void)state;
  make_tree();
  etk_error e = ETK_ERROR_INIT;
  static const char *const cases[][2] = {{"../x", "not a path below"}, {"/etc", "not a path below"}, {"none", "none"}, {"tree/link/gr", "symbolic link"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_not_equal(etk_archive_create(&e, at("x.tar"), folder, &cases[i][0], 1, false), ETK_OK);
    assert_non_null(strstr(e.message, cases[i][1]));
  }
  assert_int_equal(etk_archive_create(&e, at("x.rar"), folder, tree, 1, false), ETK_E_UNSUPPORTED);
  assert_non_null(strstr(e.message, ".tar.zst"));
  put_bytes("tree/self.tar", "old", 3);
  assert_int_equal(etk_archive_create(&e, at("tree/self.tar"), folder, tree, 1, true), ETK_E_INVALID);
  assert_non_null(strstr(e.message, "contain itself"));
  holds("tree/self.tar", "old");
  assert_int_equal(mkfifo(at("tree/pipe"), 0600), 0);
  assert_int_equal(etk_archive_create(&e, at("x.tar"), folder, tree, 1, false), ETK_E_UNSUPPORTED);
  assert_non_null(strstr(e.message, "tree/pipe"));
  assert_int_equal(entries(folder), 1);
}

/* ---- damage ---- */

static void an_archive_cut_anywhere_is_refused(void **state) {
  (void)state;
  assert_int_equal(etk_fs_make_dirs(NULL, at("tree")), ETK_OK);
  char *zeros = etk_calloc(1, 3000); /* zeros at a cut look like the end of a tar */
  put_bytes("tree/a", "alpha", 5);
  put_bytes("tree/z", zeros, 3000);
  etk_free(zeros);
  char *large = etk_calloc(1, 9000);
  uint32_t x = 1;
  for (size_t i = 0; i < 9000; i++) large[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
  put_bytes("tree/b", large, 9000);
  etk_free(large);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    assert_int_equal(etk_archive_create(NULL, at(kinds[i]), folder, tree, 1, false), ETK_OK);
    char *bytes;
    size_t size;
    assert_int_equal(etk_fs_read(NULL, &bytes, &size, at(kinds[i]), 1 << 20), ETK_OK);
    assert_true(size > 4096);
    for (size_t cut = 0; cut < size; cut += cut + 512 < size ? 512 : cut == size - 1 ? 1 : size - 1 - cut) {
      put_bytes("cut", bytes, cut);
      etk_error e = ETK_ERROR_INIT;
      if (etk_archive_extract(&e, at("cut"), at("into"), false, NULL) != ETK_E_FORMAT) fail_msg("%s cut at %zu of %zu: '%s'", kinds[i], cut, size, e.message);
      assert_false(etk_fs_exists(at("into")));
      unlink(at("cut"));
    }
    etk_free(bytes);
  }
  char **left;
  size_t count;
  assert_int_equal(etk_fs_find(NULL, &left, &count, folder, "**/*tmp-*"), ETK_OK);
  assert_int_equal(count, 0);
  etk_fs_list_free(left, count);
}

/* libarchive does not look at the check sum of gzip; a changed byte would come out. */
static void a_changed_byte_is_seen_by_its_check_sum(void **state) {
  (void)state;
  char noise[5000];
  uint32_t x = 9;
  for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
  assert_int_equal(etk_fs_make_dirs(NULL, at("tree")), ETK_OK);
  put_bytes("tree/noise", noise, sizeof noise); /* is stored, so that a bit is just a bit */
  static const char *const checked[] = {"x.tar.gz", "x.zip"};
  for (size_t i = 0; i < 2; i++) {
    char *bytes;
    size_t size;
    assert_int_equal(etk_archive_create(NULL, at(checked[i]), folder, tree, 1, false), ETK_OK);
    assert_int_equal(etk_fs_read(NULL, &bytes, &size, at(checked[i]), 1 << 20), ETK_OK);
    bytes[size / 2] ^= 4;
    put_bytes(checked[i], bytes, size);
    is_refused(checked[i], NULL, ETK_E_FORMAT, "damaged");
    etk_free(bytes);
  }
}

static void bytes_behind_the_end_are_not_passed_over(void **state) {
  (void)state;
  etk_text tar = ETK_TEXT_INIT, two = ETK_TEXT_INIT;
  tar_file(&tar, "a", "x");
  tar_end(&tar, "one.tar");
  char *bytes;
  size_t size;
  assert_int_equal(etk_fs_read(NULL, &bytes, &size, at("one.tar"), 1 << 20), ETK_OK);
  etk_text_append(&two, bytes, size);
  etk_text_append(&two, bytes, size);
  etk_free(bytes);
  put_bytes("two.tar", two.data, two.size);
  etk_text_free(&two);
  is_refused("two.tar", NULL, ETK_E_FORMAT, "bytes follow the end");
  put_bytes("text", "this is no archive, but it is longer than nothing", 49);
  is_refused("text", NULL, ETK_E_FORMAT, "'");
  put_bytes("nothing", "", 0);
  is_refused("nothing", NULL, ETK_E_FORMAT, "'");
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_archive_extract(&e, at("none"), at("into"), false, NULL), ETK_E_NOT_FOUND);
  assert_int_equal(etk_archive_extract(&e, folder, at("into"), false, NULL), ETK_E_INVALID);
}

static void a_hostile_zip_is_refused(void **state) {
  (void)state;
  static const char *const names[] = {"../up", "/abs", "a/../../b", "..\\up", "same"};
  static const char *const words[] = {"has '..'", "absolute", "has '..'", "has '..'", "twice"}; /* libarchive makes '/' of a zip's backslash */
  for (size_t i = 0; i < 5; i++) {
    struct archive *a = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    archive_write_set_format_zip(a);
    assert_int_equal(archive_write_open_filename(a, at("x.zip")), ARCHIVE_OK);
    for (int k = 0; k < 2; k++) {
      archive_entry_clear(entry);
      archive_entry_set_pathname(entry, i == 4 || k ? names[i] : "fine");
      archive_entry_set_filetype(entry, AE_IFREG);
      archive_entry_set_perm(entry, 0644);
      archive_entry_set_size(entry, 1);
      assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
      assert_int_equal(archive_write_data(a, "x", 1), 1);
    }
    archive_entry_free(entry);
    archive_write_close(a);
    archive_write_free(a);
    is_refused("x.zip", NULL, ETK_E_INVALID, words[i]);
  }
}

/* ---- other programs ---- */

static void other_programs_read_ours_and_we_read_theirs(void **state) {
  (void)state;
  make_tree();
  static const struct {
    const char *needs, *name, *unpack, *pack;
  } rows[] = {
      {"tar", "x.tar", "tar -xf x.tar -C theirs", "tar -cf x.tar tree"},
      {"tar --version | grep -q GNU", "x.tar", "tar -xf x.tar -C theirs", "tar --format=gnu -cf x.tar tree"},
      {"gzip", "x.tar.gz", "gzip -dc x.tar.gz | tar -xf - -C theirs", "tar -cf - tree | gzip -9 >x.tar.gz"},
      {"zstd", "x.tar.zst", "zstd -qdc x.tar.zst | tar -xf - -C theirs", "tar -cf - tree | zstd -q >x.tar.zst"},
      {"unzip", "x.zip", "unzip -q x.zip -d theirs", NULL},
      {"zip", "x.zip", NULL, "zip -qry x.zip tree"},
      {"pigz", "x.tar.gz", NULL, "tar -cf - tree | pigz >x.tar.gz"},
  };
  int done = 0;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char command[256];
    snprintf(command, sizeof command, strchr(rows[i].needs, ' ') ? "%s" : "command -v %s >/dev/null", rows[i].needs);
    if (!shell("%s", command)) continue;
    done++;
    etk_error e = ETK_ERROR_INIT;
    if (rows[i].unpack) {
      if (etk_archive_create(&e, at(rows[i].name), folder, tree, 1, true)) fail_msg("%s", e.message);
      assert_true(shell("cd '%s' && rm -rf theirs && mkdir theirs && LC_ALL=C.UTF-8 && export LC_ALL && %s && diff -r tree theirs/tree", folder, rows[i].unpack));
    }
    if (rows[i].pack) {
      assert_true(shell("cd '%s' && rm -f %s && %s", folder, rows[i].name, rows[i].pack));
      if (etk_archive_extract(&e, at(rows[i].name), at("ours"), true, NULL)) fail_msg("%s: %s", rows[i].pack, e.message);
      assert_true(shell("cd '%s' && diff -r tree ours/tree", folder));
    }
  }
  if (done < 2) skip();
}

static int count_one(void *user, const etk_archive_entry *entry) {
  etk_text *all = user;
  etk_text_printf(all, "%c %s %lld %lld %s\n", entry->type, entry->path, (long long)entry->size, (long long)entry->modified_unix_s, entry->link ? entry->link : "-");
  return strcmp(entry->path, "stop") == 0;
}

static void a_list_shows_what_is_there(void **state) {
  (void)state;
  etk_text tar = ETK_TEXT_INIT, all = ETK_TEXT_INIT;
  tar_file(&tar, "../odd", "12345");
  tar_header(&tar, "d/", '5', NULL, 0);
  tar_header(&tar, "d/l", '2', "/etc", 0);
  tar_header(&tar, "h", '1', "../odd", 0);
  tar_header(&tar, "p", '6', NULL, 0);
  tar_end(&tar, "x.tar");
  assert_int_equal(etk_archive_list(NULL, at("x.tar"), count_one, &all), ETK_OK);
  assert_string_equal(all.data, "f ../odd 5 1000000000 -\nd d/ 0 1000000000 -\nl d/l 0 1000000000 /etc\nh h 0 1000000000 ../odd\ns p 0 1000000000 -\n");
  etk_text_free(&all);
  tar_file(&tar, "stop", "");
  tar_file(&tar, "never", "");
  tar_end(&tar, "x.tar");
  assert_int_equal(etk_archive_list(NULL, at("x.tar"), count_one, &all), ETK_E_CANCELLED);
  assert_null(strstr(all.data, "never"));
  etk_text_free(&all);
}

/* A name of bytes that are no UTF-8 comes back as it was. */
static void a_name_that_is_no_utf8_survives(void **state) {
  (void)state;
  assert_int_equal(etk_fs_make_dirs(NULL, at("tree")), ETK_OK);
  put_bytes("tree/caf\xE9", "latin", 5);
  etk_error e = ETK_ERROR_INIT;
  if (etk_archive_create(&e, at("x.tar"), folder, tree, 1, false)) fail_msg("%s", e.message);
  if (etk_archive_extract(&e, at("x.tar"), at("out"), false, NULL)) fail_msg("%s", e.message);
  holds("out/tree/caf\xE9", "latin");
}

/* Only our own allocations: libarchive ends the process where malloc fails inside it. */
static void any_allocation_of_ours_may_fail(void **state) {
  (void)state;
  make_tree();
  etk_error e = ETK_ERROR_INIT;
  for (int extract = 0; extract < 2; extract++) {
    starvation s = {.bears = true};
    while (starve(&s)) {
      etk_status status = extract ? etk_archive_extract(&e, at("x.tar.gz"), at("out"), true, NULL) : etk_archive_create(&e, at("x.tar.gz"), folder, tree, 1, true);
      starved(&s, status, &e);
    }
  }
  assert_int_equal(entries(folder), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_hostile_tar_is_refused_and_leaves_nothing),
      TEST(links_that_stay_inside_are_made),
      TEST(a_bomb_is_stopped_by_the_limits),
      TEST(what_is_archived_comes_out_the_same),
      TEST(an_archive_is_the_same_bytes_again),
      TEST(what_cannot_be_archived_is_named),
      TEST(an_archive_cut_anywhere_is_refused),
      TEST(a_changed_byte_is_seen_by_its_check_sum),
      TEST(bytes_behind_the_end_are_not_passed_over),
      TEST(a_hostile_zip_is_refused),
      TEST(other_programs_read_ours_and_we_read_theirs),
      TEST(a_list_shows_what_is_there),
      TEST(a_name_that_is_no_utf8_survives),
      TEST(any_allocation_of_ours_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
