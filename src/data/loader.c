#include "data/loader.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/ranks.h"
#include "base/size.h"

enum { RING = 4 }; /* one in the caller's hands, the others ahead */

static const uint64_t ORDER_STREAM = 0x6f72646572;

typedef struct {
    float *x;
    int32_t *label;
    uint64_t *id;
    int64_t n, view, epoch, index;
    float *soft, *tail; /* NULL without a store; as in kd_batch */
    int32_t *soft_index;
    int status; /* of reading the store */
    char why[KD_PATH_MAX + 256];
} batch_slot;

struct kd_loader {
    const kd_dataset *dataset;
    kd_loader_spec spec;
    int64_t batches, sample; /* per epoch; values of one sample */
    float table[KD_IMAGE_CHANNELS_MAX][256];
    batch_slot slot[RING];

    /* The background thread's own; others touch it only while `filling` is false. */
    int64_t *order, order_epoch; /* (dataset->count), the permutation of order_epoch */

    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. Slots first … first+ready−1 (mod RING) are full; `held` of the slots before
     * `first` (0 or 1) is in the caller's hands. */
    int first, ready, held;
    int64_t epoch, index; /* the batch to make next */
    bool filling, stop;
};

void kd_augmented_sample(const kd_dataset *dataset, int64_t index, const kd_augment *augment,
                         uint64_t seed, int64_t view, float *out) {
    KD_CONTRACT(index >= 0 && index < dataset->count, "sample %lld of %lld", (long long)index,
                (long long)dataset->count);
    float table[KD_IMAGE_CHANNELS_MAX][256];
    if (dataset->bytes) kd_normalise_table(table, &dataset->normaliser);
    uint64_t key = kd_augment_view_key(seed, view);
    kd_transform transform = kd_augment_draw(augment, dataset, key, dataset->id[index]);
    kd_augment_apply(out, dataset, index, &transform, table);
}

/* Numbers that a store of logits has for a sample. */
static int64_t soft_width(const kd_store *store) {
    const kd_store_header *h = kd_store_describe(store);
    return h->kind == KD_STORE_DENSE ? h->classes : h->k;
}

/* What the store has for the slot's samples. */
static void fill_soft(const kd_loader *loader, batch_slot *slot) {
    const kd_store *store = loader->spec.store;
    slot->status = kd_store_describe(store)->kind == KD_STORE_DENSE
                       ? kd_store_read(store, slot->n, slot->view, slot->id, slot->soft)
                       : kd_store_read_topk(store, slot->n, slot->view, slot->id,
                                            loader->spec.temperature_index, slot->soft_index,
                                            slot->soft, slot->tail);
    if (slot->status < 0) snprintf(slot->why, sizeof slot->why, "%s", kd_error());
}

static void fill(kd_loader *loader, batch_slot *slot, int64_t epoch, int64_t index) {
    const kd_dataset *d = loader->dataset;
    const kd_loader_spec *spec = &loader->spec;
    if (spec->shuffle && loader->order_epoch != epoch) {
        kd_rng rng = {
            .key = kd_rng_init(kd_rng_init(spec->seed, ORDER_STREAM).key, (uint64_t)epoch).key};
        kd_rng_permutation(&rng, loader->order, d->count);
        loader->order_epoch = epoch;
    }
    int64_t first = index * spec->batch;
    slot->n = d->count - first < spec->batch ? d->count - first : spec->batch;
    slot->epoch = epoch;
    slot->index = index;
    slot->view = spec->views > 0 ? epoch % spec->views : epoch;
    uint64_t key = kd_augment_view_key(spec->seed, slot->view);
    for (int64_t i = 0; i < slot->n; i++) {
        int64_t row = spec->shuffle ? loader->order[first + i] : first + i;
        slot->label[i] = d->label[row];
        slot->id[i] = d->id[row];
        kd_transform transform = kd_augment_draw(&spec->augment, d, key, d->id[row]);
        kd_augment_apply(slot->x + i * loader->sample, d, row, &transform, loader->table);
    }
    if (spec->store) fill_soft(loader, slot);
}

/* Whether a batch of an epoch is this rank's. */
static bool is_own(const kd_loader *loader, int64_t index) {
    const int64_t most = loader->spec.update;
    int64_t first, end;
    if (most == 0) return true;
    const int64_t at = index % most, left = loader->batches - index + at;
    kd_ranks_part(kd_rank(), left < most ? left : most, &first, &end);
    return at >= first && at < end;
}

static void advance(kd_loader *loader) {
    do {
        if (++loader->index == loader->batches) {
            loader->index = 0;
            loader->epoch++;
        }
    } while (!is_own(loader, loader->index));
}

/* A rank that has no batch in any epoch is asked for none, and keeps the first ones. */
static void go_to_first(kd_loader *loader) {
    while (loader->index < loader->batches && !is_own(loader, loader->index)) loader->index++;
    if (loader->index < loader->batches) return;
    loader->index = loader->spec.update = 0;
}

static void *fill_ahead(void *argument) {
    kd_loader *loader = argument;
    pthread_mutex_lock(&loader->lock);
    for (;;) {
        while (!loader->stop && loader->ready + loader->held == RING)
            pthread_cond_wait(&loader->changed, &loader->lock);
        if (loader->stop) break;
        batch_slot *slot = &loader->slot[(loader->first + loader->ready) % RING];
        int64_t epoch = loader->epoch, index = loader->index;
        loader->filling = true;
        pthread_mutex_unlock(&loader->lock);
        fill(loader, slot, epoch, index);
        pthread_mutex_lock(&loader->lock);
        loader->filling = false;
        loader->ready++;
        advance(loader);
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* Signals are the main thread's business: the background thread is born with all of them blocked.
 */
static int start_thread(kd_loader *loader) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&loader->thread, NULL, fill_ahead, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0)
        return kd_fail(KD_EINTERNAL, "cannot start the loader's thread: %s", strerror(result));
    loader->started = true;
    return KD_OK;
}

static int check_spec(const kd_dataset *d, const kd_loader_spec *spec) {
    KD_CONTRACT(spec->batch >= 1 && spec->update >= 0 && spec->views >= 0 && d->count >= 1,
                "batch %lld, views %lld, samples %lld", (long long)spec->batch,
                (long long)spec->views, (long long)d->count);
    const kd_augment *a = &spec->augment;
    if (a->shift_h < 0 || a->shift_h > d->h || a->shift_w < 0 || a->shift_w > d->w)
        return kd_fail(KD_ECONFIG, "shifts of %d and %d; must be 0 to %lld and 0 to %lld",
                       a->shift_h, a->shift_w, (long long)d->h, (long long)d->w);
    return KD_OK;
}

static int allocate_soft(kd_loader *loader, int64_t batch) {
    const kd_store_header *h = kd_store_describe(loader->spec.store);
    const int64_t numbers = batch * soft_width(loader->spec.store);
    KD_CONTRACT(h->kind != KD_STORE_HIDDEN && !h->sequences, "a store without rows of logits");
    for (int i = 0; i < RING; i++) {
        batch_slot *slot = &loader->slot[i];
        slot->soft = malloc(kd_array_bytes(numbers, sizeof *slot->soft));
        if (h->kind == KD_STORE_TOPK) {
            slot->tail = malloc(kd_array_bytes(batch, sizeof *slot->tail));
            slot->soft_index = malloc(kd_array_bytes(numbers, sizeof *slot->soft_index));
        }
        if (!slot->soft || (h->kind == KD_STORE_TOPK && (!slot->tail || !slot->soft_index)))
            return kd_fail_memory(kd_array_bytes(numbers, sizeof *slot->soft), "soft targets");
    }
    return KD_OK;
}

static int allocate(kd_loader *loader) {
    const int64_t count = loader->dataset->count;
    const int64_t batch = loader->spec.batch < count ? loader->spec.batch : count;
    const size_t values = kd_array_bytes(loader->sample * batch, sizeof(float));
    if (loader->spec.shuffle) {
        size_t bytes = kd_array_bytes(count, sizeof *loader->order);
        loader->order = malloc(bytes);
        if (!loader->order) return kd_fail_memory(bytes, "the order of an epoch");
    }
    for (int i = 0; i < RING; i++) {
        batch_slot *slot = &loader->slot[i];
        slot->x = malloc(values);
        slot->label = malloc(kd_array_bytes(batch, sizeof *slot->label));
        slot->id = malloc(kd_array_bytes(batch, sizeof *slot->id));
        if (!slot->x || !slot->label || !slot->id) return kd_fail_memory(values, "batches");
    }
    return loader->spec.store ? allocate_soft(loader, batch) : KD_OK;
}

int kd_loader_create(kd_loader **out, const kd_dataset *dataset, const kd_loader_spec *spec) {
    *out = NULL;
    int status = check_spec(dataset, spec);
    if (status < 0) return status;
    kd_loader *loader = calloc(1, sizeof *loader);
    if (!loader) return kd_fail_memory(sizeof *loader, "a loader");
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->changed, NULL);
    loader->dataset = dataset;
    loader->spec = *spec;
    loader->order_epoch = -1;
    loader->sample = dataset->h * dataset->w * dataset->c;
    loader->batches = (dataset->count + spec->batch - 1) / spec->batch;
    go_to_first(loader);
    if (dataset->bytes) kd_normalise_table(loader->table, &dataset->normaliser);
    status = allocate(loader);
    if (status == KD_OK) status = start_thread(loader);
    if (status < 0) {
        kd_loader_free(loader);
        return status;
    }
    *out = loader;
    return KD_OK;
}

void kd_loader_free(kd_loader *loader) {
    if (!loader) return;
    if (loader->started) {
        pthread_mutex_lock(&loader->lock);
        loader->stop = true;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->lock);
        pthread_join(loader->thread, NULL);
    }
    for (int i = 0; i < RING; i++) {
        free(loader->slot[i].x);
        free(loader->slot[i].label);
        free(loader->slot[i].id);
        free(loader->slot[i].soft);
        free(loader->slot[i].tail);
        free(loader->slot[i].soft_index);
    }
    free(loader->order);
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->lock);
    free(loader);
}

int64_t kd_loader_batches(const kd_loader *loader) {
    return loader->batches;
}

static bool comes_next(const kd_loader *loader, int64_t epoch, int64_t index) {
    const batch_slot *slot = &loader->slot[loader->first];
    return loader->ready > 0 ? slot->epoch == epoch && slot->index == index
                             : loader->epoch == epoch && loader->index == index;
}

void kd_loader_seek(kd_loader *loader, int64_t epoch, int64_t index) {
    KD_CONTRACT(epoch >= 0 && index >= 0 && index <= loader->batches, "batch %lld of epoch %lld",
                (long long)index, (long long)epoch);
    if (index == loader->batches) {
        epoch++;
        index = 0;
    }
    pthread_mutex_lock(&loader->lock);
    if (!comes_next(loader, epoch, index)) {
        while (loader->filling) pthread_cond_wait(&loader->changed, &loader->lock);
        loader->first = loader->ready = loader->held = 0;
        loader->epoch = epoch;
        loader->index = index;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->lock);
}

int kd_loader_next(kd_loader *loader, kd_batch *out) {
    pthread_mutex_lock(&loader->lock);
    if (loader->held) { /* the previous batch is given back */
        loader->held = 0;
        pthread_cond_broadcast(&loader->changed);
    }
    while (loader->ready == 0) pthread_cond_wait(&loader->changed, &loader->lock);
    const batch_slot *slot = &loader->slot[loader->first];
    loader->first = (loader->first + 1) % RING;
    loader->ready--;
    loader->held = 1;
    pthread_mutex_unlock(&loader->lock);
    *out = (kd_batch){.n = slot->n,
                      .x = slot->x,
                      .label = slot->label,
                      .id = slot->id,
                      .view = slot->view,
                      .epoch = slot->epoch,
                      .index = slot->index,
                      .soft = slot->soft,
                      .soft_index = slot->soft_index,
                      .tail = slot->tail};
    return slot->status < 0 ? kd_fail(slot->status, "%s", slot->why) : KD_OK;
}
