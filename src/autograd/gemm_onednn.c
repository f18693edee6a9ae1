/* bfloat16 products by oneDNN.
 *
 * Same bits at any thread count: C is cut into tiles of a fixed size, and a tile is one primitive
 * that was created and is executed as if there were one thread. Primitives are kept by shape, so
 * only a shape's first product compiles anything. */
#include "autograd/gemm_bf16.h"

#if !defined(KD_HAVE_DNNL) || defined(KD_DOUBLE)

bool kd_onednn_is_live(void) {
    return false;
}

bool kd_onednn_bf16(const kd_matrix_product *p, const uint16_t *A, const uint16_t *B) {
    (void)p, (void)A, (void)B;
    return false;
}

#else

#include <math.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/isa.h"
#include "base/log.h"

enum { TILE_ROWS = 256, TILE_COLUMNS = 256, CACHE_SIZE = 512, SHAPES_PER_PRODUCT = 4 };

/* What makes one primitive differ from another. */
typedef struct {
    int64_t M, N, K, lda, ldb, ldc;
    int64_t ta, tb, adding; /* as wide as the rest, so that keys compare as bytes */
} tile_key;

typedef struct {
    tile_key key;
    dnnl_memory_desc_t a, b, c, scratch;
    dnnl_primitive_t primitive;
} tile_product;

static struct {
    dnnl_engine_t engine;
    tile_product list[CACHE_SIZE];
    int count;
} cache;

/* What each OpenMP thread executes with; grows, and lives as long as the process. */
typedef struct {
    dnnl_stream_t stream;
    void *scratch;
    size_t bytes;
} worker;

static worker *workers;
static int worker_count;

/* --- primitives ------------------------------------------------------------------------------ */

static void describe(dnnl_memory_desc_t *out, int64_t rows, int64_t columns, dnnl_data_type_t type,
                     bool transposed, int64_t ld) {
    const dnnl_dims_t dims = {rows, columns};
    const dnnl_dims_t strides = {transposed ? 1 : ld, transposed ? ld : 1};
    dnnl_memory_desc_init_by_strides(out, 2, dims, type, strides);
}

/* Scratch memory is ours (a thread's), and beta = 1 is a sum behind the product. */
static dnnl_status_t make_attributes(dnnl_primitive_attr_t *out, bool adding) {
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    if (status != dnnl_success) return status;
    dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (!adding) return dnnl_success;
    dnnl_post_ops_t sum;
    status = dnnl_post_ops_create(&sum);
    if (status != dnnl_success) return status;
    status = dnnl_post_ops_append_sum(sum, 1.0F);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*out, sum);
    dnnl_post_ops_destroy(sum);
    return status;
}

static bool create_primitive(tile_product *p) {
    const tile_key *k = &p->key;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_matmul_desc_t matmul;
    describe(&p->a, k->M, k->K, dnnl_bf16, k->ta != KD_PLAIN, k->lda);
    describe(&p->b, k->K, k->N, dnnl_bf16, k->tb != KD_PLAIN, k->ldb);
    describe(&p->c, k->M, k->N, dnnl_f32, false, k->ldc);
    dnnl_status_t status = make_attributes(&attributes, k->adding != 0);
    if (status == dnnl_success) status = dnnl_matmul_desc_init(&matmul, &p->a, &p->b, NULL, &p->c);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&desc, &matmul, attributes, cache.engine, NULL);
    if (status == dnnl_success) {
        p->scratch = *dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
        status = dnnl_primitive_create(&p->primitive, desc);
    }
    if (desc) dnnl_primitive_desc_destroy(desc);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    return status == dnnl_success;
}

/* The primitive of this shape, or NULL. Called with one OpenMP thread, which it is made for. */
static const tile_product *find_primitive(const tile_key *key) {
    for (int i = 0; i < cache.count; i++)
        if (memcmp(&cache.list[i].key, key, sizeof *key) == 0) return &cache.list[i];
    tile_product *p = &cache.list[cache.count];
    *p = (tile_product){.key = *key};
    if (!create_primitive(p)) return NULL;
    cache.count++;
    return p;
}

static void make_room(void) {
    if (cache.count + SHAPES_PER_PRODUCT <= CACHE_SIZE) return;
    while (cache.count > 0) dnnl_primitive_destroy(cache.list[--cache.count].primitive);
}

/* --- one product ----------------------------------------------------------------------------- */

/* The primitives of inner tiles and of those at the lower and right edge: [at bottom][at right]. */
typedef struct {
    const tile_product *tile[2][2];
    int64_t rows, columns; /* tiles */
    size_t scratch_bytes;  /* that the largest of them needs */
} tile_plan;

static int64_t extent(int64_t total, int64_t tile, int64_t index) {
    return total - index * tile < tile ? total - index * tile : tile;
}

/* Between rows of the dense copies. */
static int64_t a_ld(const kd_matrix_product *p) {
    return p->A.trans == KD_PLAIN ? p->K : p->M;
}
static int64_t b_ld(const kd_matrix_product *p) {
    return p->B.trans == KD_PLAIN ? p->N : p->K;
}

static bool make_plan(tile_plan *out, const kd_matrix_product *p) {
    out->rows = (p->M + TILE_ROWS - 1) / TILE_ROWS;
    out->columns = (p->N + TILE_COLUMNS - 1) / TILE_COLUMNS;
    make_room();
    for (int bottom = 0; bottom < 2; bottom++)
        for (int right = 0; right < 2; right++) {
            tile_key key = {.K = p->K, .lda = a_ld(p), .ldb = b_ld(p), .ldc = p->ldc};
            key.M = extent(p->M, TILE_ROWS, bottom ? out->rows - 1 : 0);
            key.N = extent(p->N, TILE_COLUMNS, right ? out->columns - 1 : 0);
            key.ta = p->A.trans;
            key.tb = p->B.trans;
            key.adding = p->beta != 0;
            out->tile[bottom][right] = find_primitive(&key);
            if (!out->tile[bottom][right]) return false;
            const size_t bytes = dnnl_memory_desc_get_size(&out->tile[bottom][right]->scratch);
            if (bytes > out->scratch_bytes) out->scratch_bytes = bytes;
        }
    return true;
}

/* A worker for each of `count` threads, with at least `bytes` of scratch. */
static bool prepare_workers(int count, size_t bytes) {
    if (count > worker_count) {
        worker *grown = realloc(workers, (size_t)count * sizeof *grown);
        if (!grown) return false;
        workers = grown;
        while (worker_count < count) workers[worker_count++] = (worker){0};
    }
    for (int i = 0; i < count; i++) {
        worker *w = &workers[i];
        if (!w->stream &&
            dnnl_stream_create(&w->stream, cache.engine, dnnl_stream_default_flags) != dnnl_success)
            return false;
        if (w->scratch && w->bytes >= bytes) continue;
        free(w->scratch);
        w->bytes = (bytes / 4096 + 1) * 4096;
        w->scratch = aligned_alloc(4096, w->bytes);
        if (!w->scratch) return false;
    }
    return true;
}

static bool execute(const worker *w, const tile_product *t, const uint16_t *a, const uint16_t *b,
                    float *c) {
    /* oneDNN takes a plain pointer for inputs too; it does not write them. */
    struct {
        int role;
        const dnnl_memory_desc_t *desc;
        void *data;
    } part[4] = {{DNNL_ARG_SRC, &t->a, (void *)(uintptr_t)a},
                 {DNNL_ARG_WEIGHTS, &t->b, (void *)(uintptr_t)b},
                 {DNNL_ARG_DST, &t->c, c},
                 {DNNL_ARG_SCRATCHPAD, &t->scratch, w->scratch}};
    dnnl_exec_arg_t args[4] = {0};
    dnnl_status_t status = dnnl_success;
    int made = 0;
    for (; made < 4 && status == dnnl_success; made++) {
        args[made].arg = part[made].role;
        status =
            dnnl_memory_create(&args[made].memory, part[made].desc, cache.engine, part[made].data);
    }
    if (status == dnnl_success) status = dnnl_primitive_execute(t->primitive, w->stream, 4, args);
    if (status == dnnl_success) status = dnnl_stream_wait(w->stream);
    for (int i = 0; i < made; i++) dnnl_memory_destroy(args[i].memory);
    return status == dnnl_success;
}

bool kd_onednn_bf16(const kd_matrix_product *p, const uint16_t *A, const uint16_t *B) {
    tile_plan plan = {0};
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1); /* what a primitive is created for is what it runs with, below */
    const bool planned = make_plan(&plan, p);
    omp_set_num_threads(threads);
    if (!planned || !prepare_workers(threads, plan.scratch_bytes)) return false;
    const int64_t tiles = plan.rows * plan.columns;
    bool done = true;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) reduction(&& : done)
    for (int64_t n = 0; n < tiles; n++) {
        omp_set_num_threads(1); /* of regions inside this one: oneDNN's own */
        const int64_t row = n / plan.columns, column = n % plan.columns;
        const int64_t i = row * TILE_ROWS, j = column * TILE_COLUMNS;
        const tile_product *t = plan.tile[row == plan.rows - 1][column == plan.columns - 1];
        const uint16_t *a = A + (p->A.trans == KD_PLAIN ? i * p->K : i);
        const uint16_t *b = B + (p->B.trans == KD_PLAIN ? j : j * p->K);
        done = execute(&workers[omp_get_thread_num()], t, a, b, p->C + i * p->ldc + j) && done;
    }
    KD_CONTRACT(done, "oneDNN failed inside a bfloat16 product %lld x %lld x %lld", (long long)p->M,
                (long long)p->N, (long long)p->K);
    return true;
}

/* --- is it there, and is it right ------------------------------------------------------------ */

/* A product whose numbers bfloat16 holds exactly, against the definition. */
static bool product_is_right(void) {
    enum { M = 33, N = 20, K = 70 };
    static uint16_t A[M * K], B[K * N];
    static float a[M * K], b[K * N], C[M * N];
    kd_rng rng = kd_rng_init(1, 0);
    for (int i = 0; i < M * K; i++) a[i] = kd_round_bfloat16((float)kd_rng_normal(&rng));
    for (int i = 0; i < K * N; i++) b[i] = kd_round_bfloat16((float)kd_rng_normal(&rng));
    for (int i = 0; i < M * K; i++) memcpy(&A[i], (const char *)&a[i] + 2, 2);
    for (int i = 0; i < K * N; i++) memcpy(&B[i], (const char *)&b[i] + 2, 2);
    const kd_matrix_product p = {.M = M, .N = N, .K = K, .alpha = 1, .C = C, .ldc = N};
    if (!kd_onednn_bf16(&p, A, B)) return false;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0, size = 0;
            for (int k = 0; k < K; k++) {
                const double term = (double)a[i * K + k] * (double)b[k * N + j];
                sum += term;
                size += fabs(term);
            }
            if (!(fabs((double)C[i * N + j] - sum) <= 1e-5 * size)) return false;
        }
    return true;
}

static bool decide(void) {
    if (!kd_isa_may_use(KD_ISA_AMX)) return false;
    const unsigned amx = dnnl_cpu_isa_avx512_core_amx;
    if (((unsigned)dnnl_get_effective_cpu_isa() & amx) != amx) return false;
    if (dnnl_engine_create(&cache.engine, dnnl_cpu, 0) != dnnl_success) return false;
    if (product_is_right()) return true;
    kd_warn("oneDNN's bfloat16 product is refused or wrong here; rounding and float32 instead");
    return false;
}

bool kd_onednn_is_live(void) {
    static int live = -1;
    if (live < 0) live = decide();
    return live;
}

#endif
