#include <etk/optimizer.h>
#include <math.h>

static const char *const names[] = {[ETK_SCHEDULE_CONSTANT] = "constant", [ETK_SCHEDULE_LINEAR] = "linear", [ETK_SCHEDULE_COSINE] = "cosine"};

bool etk_schedule_parse(etk_schedule_kind *out, const char *name) {
  for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
    if (!strcmp(names[i], name)) {
      *out = (etk_schedule_kind)i;
      return true;
    }
  return false;
}

double etk_schedule_rate(const etk_schedule *s, int64_t step) {
  if (step < s->warmup_steps) return s->peak * (double)(step + 1) / (double)s->warmup_steps;
  if (s->kind == ETK_SCHEDULE_CONSTANT) return s->peak;
  int64_t length = s->total_steps - s->warmup_steps, done = step - s->warmup_steps;
  double progress = length <= 0 || done >= length ? 1 : (double)done / (double)length;
  double left = s->kind == ETK_SCHEDULE_LINEAR ? 1 - progress : 0.5 * (1 + cos(3.14159265358979323846 * progress));
  return s->floor + (s->peak - s->floor) * left;
}
