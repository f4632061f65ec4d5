/* log_shape.c: credentials that are known by their look, as their issuers document them. */
#include "log_internal.h"

enum tail { ALNUM, UPPER, WORD, RUN }; /* RUN: letters, digits, '_' and '-', with 16 letters and digits in a row */

static const struct shape {
  const char *prefix;
  enum tail tail;
  size_t least; /* bytes behind the prefix */
} shapes[] = {
    {"hf_", ALNUM, 16},       {"api_org_", ALNUM, 16},                                                            /* Hugging Face */
    {"sk-", RUN, 16},         {"sk_live_", ALNUM, 16}, {"sk_test_", ALNUM, 16},                                   /* OpenAI and others, Stripe */
    {"rk_live_", ALNUM, 16},  {"rk_test_", ALNUM, 16}, {"gsk_", ALNUM, 20},    {"r8_", ALNUM, 20},                /* Groq, Replicate */
    {"ghp_", ALNUM, 16},      {"gho_", ALNUM, 16},     {"ghu_", ALNUM, 16},    {"ghs_", ALNUM, 16},               /* GitHub */
    {"ghr_", ALNUM, 16},      {"github_pat_", RUN, 20}, {"glpat-", WORD, 16},                                     /* GitLab */
    {"xoxb-", WORD, 10},      {"xoxp-", WORD, 10},     {"xoxa-", WORD, 10},    {"xoxr-", WORD, 10}, {"xoxs-", WORD, 10}, {"xapp-", WORD, 10}, /* Slack */
    {"AKIA", UPPER, 16},      {"ASIA", UPPER, 16},     {"AIza", WORD, 30},     {"ya29.", WORD, 20},               /* AWS, Google */
    {"npm_", ALNUM, 30},      {"pypi-", WORD, 40},     {"nvapi-", WORD, 30},   {"dop_v1_", ALNUM, 30},            /* npm, PyPI, NVIDIA, DigitalOcean */
};

static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || is_upper(c) || is_digit(c); }

/* The bytes at p that the tail may hold; 0 where they are too few, or look like words. */
static size_t tail_size(const char *p, enum tail tail, size_t least) {
  size_t n = 0, run = 0, longest = 0;
  bool mixed = false;
  for (;; n++) {
    char c = p[n];
    bool alnum = tail == UPPER ? is_upper(c) || is_digit(c) : is_alnum(c);
    if (!alnum && (tail < WORD || (c != '_' && c != '-'))) break;
    mixed |= is_digit(c) || is_upper(c);
    run = alnum ? run + 1 : 0;
    if (run > longest) longest = run;
  }
  return n >= least && mixed && (tail != RUN || longest >= 16) ? n : 0;
}

/* RFC 7519: three parts in base64url, the first of which is a JSON object, so that it begins with eyJ. */
static bool token_of_three_parts(const char *p, size_t *size) {
  size_t first = tail_size(p, WORD, 10), second, third;
  if (!first || p[first] != '.') return false;
  second = tail_size(p + first + 1, WORD, 8);
  if (!second || p[first + 1 + second] != '.') return false;
  third = tail_size(p + first + second + 2, WORD, 1);
  *size = first + second + 2 + third;
  return true;
}

bool etk__shape_match(const char *p, size_t *size, size_t *keep) {
  if (p[0] == 'e' && p[1] == 'y' && p[2] == 'J' && token_of_three_parts(p, size)) {
    *keep = 3;
    return true;
  }
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    if (*p != shapes[i].prefix[0]) continue;
    size_t n = strlen(shapes[i].prefix), tail;
    if (strncmp(p, shapes[i].prefix, n) != 0 || !(tail = tail_size(p + n, shapes[i].tail, shapes[i].least))) continue;
    *size = n + tail;
    *keep = n;
    return true;
  }
  return false;
}
