#include "planner/fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

kd_fit kd_fit_of(const kd_workload *m, const kd_device *d, double bits, double tokens) {
    const bool integers = bits <= 8;
    kd_fit f = {.weights = m->parameters * bits / 8,
                .cache = 2 * m->cache * tokens,
                .activations = m->activations * (m->integers && integers ? 1 : 4),
                .room = d->memory - d->reserved};
    f.memory = f.cache + f.activations + d->runtime + (d->flash > 0 ? 0 : f.weights);
    f.fits = f.memory <= f.room && (d->flash <= 0 || f.weights <= d->flash);
    const double bytes = m->read * bits / 8 + f.cache;
    const double most = integers ? d->integer_operations : d->float_operations;
    f.seconds = fmax(bytes / (d->bandwidth * KD_BANDWIDTH_REACHED),
                     m->operations / (most * KD_OPERATIONS_REACHED));
    return f;
}

kd_workload kd_workload_decoder(double parameters) {
    const double layers = fmax(1, round(cbrt(parameters / (12 * 128.0 * 128.0))));
    const double width = 128 * layers;
    kd_workload m = {.unit = "token",
                     .parameters = parameters,
                     .cache = 2 * layers * width,
                     .activations = 16 * width,
                     .read = parameters,
                     .operations = 2 * parameters};
    snprintf(m.assumed, sizeof m.assumed,
             "a decoder of %.0f layers, %.0f wide, each head with keys of its own", layers, width);
    return m;
}

/* --- words ----------------------------------------------------------------------------------- */

static void add_bytes(kd_text *out, double bytes) {
    char text[32];
    kd_format_bytes(text, sizeof text, bytes);
    kd_text_add(out, "%s\t", text);
}

static void add_rate(kd_text *out, double seconds) {
    const double rate = 1 / seconds;
    kd_text_add(out, rate >= 100 ? "%.0f" : (rate >= 1 ? "%.1f" : "%.2g"), rate);
}

static void add_assumptions(kd_text *out, const kd_workload *m, double tokens) {
    if (*m->assumed) kd_text_add(out, "assumed: %s\n", m->assumed);
    char cache[32];
    kd_format_bytes(cache, sizeof cache, 2 * m->cache * tokens);
    if (m->cache > 0) kd_text_add(out, "a cache of %.0f tokens in 16 bits: %s\n", tokens, cache);
    kd_text_add(out,
                "speed: at most what %.0f %% of the bandwidth and %.0f %% of the operations allow; "
                "to be measured before it is promised\n",
                100 * KD_BANDWIDTH_REACHED, 100 * KD_OPERATIONS_REACHED);
}

static void add_heading(kd_text *out, const kd_workload *m) {
    kd_text_add(out, "%s: %.4g million parameters", m->name, m->parameters / 1e6);
    if (m->operations > 0)
        kd_text_add(out, ", %.4g million operations a %s", m->operations / 1e6, m->unit);
    kd_text_add(out, "\n\n");
}

void kd_plan_write_devices(kd_text *out, const kd_workload *m, const kd_plan_format *format,
                           int formats, const kd_devices *devices, double tokens) {
    kd_text rows = {0};
    char align[4 + KD_DEVICES_MAX] = "lrr";
    add_heading(out, m);
    kd_text_add(&rows, "format\tbits\tweights");
    for (int d = 0; d < devices->count; d++) {
        kd_text_add(&rows, "\t%s", devices->device[d].name);
        align[3 + d] = 'r';
    }
    kd_text_add(&rows, "\n");
    for (int i = 0; i < formats; i++) {
        kd_text_add(&rows, "%s\t%.4g\t", format[i].name, format[i].bits);
        char weights[32];
        kd_format_bytes(weights, sizeof weights, m->parameters * format[i].bits / 8);
        kd_text_add(&rows, "%s", weights);
        for (int d = 0; d < devices->count; d++) {
            const kd_fit f = kd_fit_of(m, &devices->device[d], format[i].bits, tokens);
            kd_text_add(&rows, "\t");
            if (f.fits)
                add_rate(&rows, f.seconds);
            else
                kd_text_add(&rows, "–");
        }
        kd_text_add(&rows, "\n");
    }
    if (kd_text_add_rows(out, align, &rows) < 0) return;
    kd_text_add(out, "\n%ss a second; –: does not fit\n", m->unit);
    add_assumptions(out, m, tokens);
}

/* What a person should try first. */
static void add_advice(kd_text *out, const kd_workload *m, const kd_device *d, double tokens) {
    const kd_fit half = kd_fit_of(m, d, 16, tokens), eight = kd_fit_of(m, d, 8, tokens);
    const kd_fit four = kd_fit_of(m, d, 4.5, tokens), three = kd_fit_of(m, d, 3.44, tokens);
    kd_text_add(out, "\nfirst: ");
    if (half.fits)
        kd_text_add(out,
                    "it fits as it is, in float16. For speed: int8 by calibration (PTQ), %.1f "
                    "times as fast here, as a rule under 1 %% of quality\n",
                    half.seconds / eight.seconds);
    else if (eight.fits)
        kd_text_add(out, "int8 by calibration (PTQ), as a rule under 1 %% of quality; train with "
                         "fake-quant nodes (QAT) only where the test set says that it lost more\n");
    else if (four.fits)
        kd_text_add(out, "4.5 bits: q4_K_M with an importance matrix, or GPTQ; measure, then train "
                         "with the numbers in the forward pass against the float model (QAT with "
                         "distillation)\n");
    else if (three.fits)
        kd_text_add(out, "3 bits fit, and cost quality: a smaller student in 4.5 bits is better as "
                         "a rule; else q3_K_M trained with distillation (QAT)\n");
    else {
        const double place = d->flash > 0 ? d->flash : four.room - (four.memory - four.weights);
        if (place > 0)
            kd_text_add(out,
                        "a smaller student, by distillation: at 4.5 bits there is room for "
                        "%.4g million parameters\n",
                        place * 8 / 4.5 / 1e6);
        else
            kd_text_add(out, "nothing helps: activations and cache alone do not fit\n");
    }
}

void kd_plan_write_device(kd_text *out, const kd_workload *m, const kd_plan_format *format,
                          int formats, const kd_device *d, double tokens) {
    kd_text rows = {0};
    add_heading(out, m);
    kd_text_add(&rows, "format\tbits\tweights\tcache\tactivations\tprogram\tin memory\t%ss/s\n",
                m->unit);
    for (int i = 0; i < formats; i++) {
        const kd_fit f = kd_fit_of(m, d, format[i].bits, tokens);
        kd_text_add(&rows, "%s\t%.4g\t", format[i].name, format[i].bits);
        add_bytes(&rows, f.weights);
        add_bytes(&rows, f.cache);
        add_bytes(&rows, f.activations);
        add_bytes(&rows, d->runtime);
        add_bytes(&rows, f.memory);
        if (f.fits)
            add_rate(&rows, f.seconds);
        else
            kd_text_add(&rows, "does not fit");
        kd_text_add(&rows, "\n");
    }
    if (kd_text_add_rows(out, "lrrrrrrr", &rows) < 0) return;
    char memory[32], flash[32];
    kd_format_bytes(memory, sizeof memory, d->memory - d->reserved);
    kd_format_bytes(flash, sizeof flash, d->flash);
    kd_text_add(out, "\n%s: %s of memory for it", d->title, memory);
    if (d->flash > 0) kd_text_add(out, ", weights in %s of flash", flash);
    kd_text_add(out, "%s%s\n", *d->note ? "; " : "", d->note);
    add_assumptions(out, m, tokens);
    add_advice(out, m, d, tokens);
}

/* --- stages ---------------------------------------------------------------------------------- */

static double bits_of(const kd_stage *s, double otherwise) {
    return s->bits > 0 ? s->bits : otherwise;
}

/* Memory and time of all stages, the open ones in so many bits; the program is there once. */
static kd_fit together(const kd_stage *stage, int stages, double bits, const kd_device *d) {
    kd_fit sum = {.room = d->memory - d->reserved, .memory = d->runtime};
    for (int i = 0; i < stages; i++) {
        const kd_fit f = kd_fit_of(&stage[i].model, d, bits_of(&stage[i], bits), stage[i].tokens);
        sum.weights += f.weights;
        sum.memory += f.memory - d->runtime;
        sum.seconds += f.seconds * stage[i].rate;
    }
    sum.fits = sum.memory <= sum.room && (d->flash <= 0 || sum.weights <= d->flash);
    return sum;
}

static const char *name_of(double bits, const kd_plan_format *format, int formats) {
    for (int i = 0; i < formats; i++)
        if (format[i].bits == bits) return format[i].name;
    return "";
}

static void add_verdict(kd_text *out, const kd_stage *stage, int stages, double bits,
                        const kd_device *d) {
    const kd_fit all = together(stage, stages, bits, d);
    int heaviest = 0, slowest = 0;
    double weights = 0, time = 0;
    for (int i = 0; i < stages; i++) {
        const kd_fit f = kd_fit_of(&stage[i].model, d, bits_of(&stage[i], bits), stage[i].tokens);
        if (f.weights > weights) heaviest = i;
        if (f.seconds * stage[i].rate > time) slowest = i;
        weights = fmax(weights, f.weights);
        time = fmax(time, f.seconds * stage[i].rate);
    }
    if (!all.fits)
        kd_text_add(out,
                    "does not fit: \"%s\" has most of the weights; give it fewer bits, or a "
                    "smaller student\n",
                    stage[heaviest].name);
    else if (all.seconds > 1)
        kd_text_add(out,
                    "fits, but does not keep up: \"%s\" takes most of the time; a smaller "
                    "student there, or a lower rate\n",
                    stage[slowest].name);
    else
        kd_text_add(out,
                    "fits and keeps up; \"%s\" takes most of the time, \"%s\" most of the "
                    "memory\n",
                    stage[slowest].name, stage[heaviest].name);
}

void kd_plan_write_stages(kd_text *out, const kd_stage *stage, int stages,
                          const kd_plan_format *format, int formats, const kd_device *d) {
    double bits = format[formats - 1].bits;
    for (int i = formats - 1; i >= 0; i--) { /* from the fewest bits on: the last that holds */
        const kd_fit f = together(stage, stages, format[i].bits, d);
        if (f.fits && f.seconds <= 1 && format[i].bits > bits) bits = format[i].bits;
    }
    kd_text rows = {0};
    kd_text_add(&rows, "stage\tmodel\tformat\tweights\tin memory\ta second\tshare of the device\n");
    for (int i = 0; i < stages; i++) {
        const kd_stage *s = &stage[i];
        const double own = bits_of(s, bits);
        const kd_fit f = kd_fit_of(&s->model, d, own, s->tokens);
        kd_text_add(&rows, "%s\t%s\t%s\t", s->name, s->model.name, name_of(own, format, formats));
        add_bytes(&rows, f.weights);
        add_bytes(&rows, f.memory - d->runtime);
        kd_text_add(&rows, "%.3g %ss\t%.1f %%\n", s->rate, s->model.unit,
                    100 * s->rate * f.seconds);
    }
    const kd_fit all = together(stage, stages, bits, d);
    kd_text_add(&rows, "together\t\t\t");
    add_bytes(&rows, all.weights);
    add_bytes(&rows, all.memory);
    kd_text_add(&rows, "\t%.1f %%\n", 100 * all.seconds);
    if (kd_text_add_rows(out, "lllrrrr", &rows) < 0) return;
    char room[32];
    kd_format_bytes(room, sizeof room, all.room);
    kd_text_add(out, "\n%s: %s of memory for them\n", d->title, room);
    add_verdict(out, stage, stages, bits, d);
}
