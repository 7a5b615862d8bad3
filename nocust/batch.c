/* Many ECDSA signatures at once: verified together, by known keys, and made one after the other by one key.
 *
 * A signature (r, s, v) of the digest z by the key Q is valid, and its v the right one, if and only if
 * R = (z/s) G + (r/s) Q, where R is the point with the x coordinate r and the parity of y that v tells (SEC 1 v2,
 * 4.1.4 and 4.1.6). Instead of each equation their sum is checked, each multiplied by a random number a of 128 bits:
 *
 *     sum a R - (sum a z/s) G - sum (a r/s) Q = 0
 *
 * If one equation is wrong, at most one value of its a makes the sum right: a chance of 2^-128, whatever the
 * signatures are, because who chose them did not know the a (Bellare, Garay and Rabin, Fast Batch Verification, 1998).
 * One sum of many products takes a fraction of the time of many sums of two (Pippenger's and Strauss' algorithms).
 *
 * All arithmetic is that of libsecp256k1 0.8.0, whose one source file is included as a whole: its sums of many products
 * are not among the functions it exports. What is verified is not secret and takes no constant time; signing is as the
 * library does it. Threads may call all this together.
 *
 * Pins and options in scripts/batch_library.py: 9b3ca999.
 */

#define SECP256K1_NO_API_VISIBILITY_ATTRIBUTES 1
#define ENABLE_MODULE_RECOVERY 1
#ifdef __x86_64__
#define USE_ASM_X86_64 1
#endif

#include "src/secp256k1.c"
#include "src/precomputed_ecmult.c"
#include "src/precomputed_ecmult_gen.c"

#define EXPORTED __attribute__((visibility("default")))
#define HASH 32
#define SIGNATURE 65
#define KEY 64
#define COEFFICIENT 16

/* The factors and points of the sum, without G. */
typedef struct {
    secp256k1_scalar *factors;
    secp256k1_ge *points;
    size_t count;
} sum_terms;

static int term_of(secp256k1_scalar *factor, secp256k1_ge *point, size_t index, void *data) {
    const sum_terms *terms = data;
    *factor = terms->factors[index];
    *point = terms->points[index];
    return 1;
}

/* A number that is neither zero nor beyond the order of the curve. */
static int read_number(secp256k1_scalar *number, const unsigned char *bytes) {
    int beyond;
    secp256k1_scalar_set_b32(number, bytes, &beyond);
    return !beyond && !secp256k1_scalar_is_zero(number);
}

static int read_key(secp256k1_ge *key, const unsigned char *bytes) {
    secp256k1_fe x, y;
    if (!secp256k1_fe_set_b32_limit(&x, bytes) || !secp256k1_fe_set_b32_limit(&y, bytes + HASH)) {
        return 0;
    }
    secp256k1_ge_set_xy(key, &x, &y);
    return secp256k1_ge_is_valid_var(key);
}

/* R of a signature. An x coordinate beyond the order of the curve would need a v that Ethereum does not have. */
static int read_point(secp256k1_ge *point, const unsigned char *signature) {
    secp256k1_fe x;
    const int v = signature[SIGNATURE - 1];
    return (v == 27 || v == 28) && secp256k1_fe_set_b32_limit(&x, signature) &&
           secp256k1_ge_set_xo_var(point, &x, v == 28);
}

/* 1/s of each signature, with one inversion for all of them (Montgomery's trick). */
static int invert_all(secp256k1_scalar *inverses, size_t count, const unsigned char *signatures) {
    secp256k1_scalar product = secp256k1_scalar_one, s;
    size_t i;
    for (i = 0; i < count; i++) {
        if (!read_number(&s, signatures + SIGNATURE * i + HASH)) {
            return 0;
        }
        inverses[i] = product;
        secp256k1_scalar_mul(&product, &product, &s);
    }
    secp256k1_scalar_inverse_var(&product, &product);
    for (i = count; i-- > 0;) {
        secp256k1_scalar_set_b32(&s, signatures + SIGNATURE * i + HASH, NULL);
        secp256k1_scalar_mul(&inverses[i], &inverses[i], &product);
        secp256k1_scalar_mul(&product, &product, &s);
    }
    return 1;
}

/* The terms of all signatures; those of one key that follow each other share that key's term. */
static int collect(sum_terms *terms, secp256k1_scalar *of_g, const secp256k1_scalar *inverses, size_t count,
                   const unsigned char *digests, const unsigned char *signatures, const unsigned char *keys,
                   const unsigned char *coefficients) {
    secp256k1_scalar *of_key = NULL;
    const unsigned char *key = NULL;
    size_t i;
    for (i = 0; i < count; i++, signatures += SIGNATURE, digests += HASH, keys += KEY) {
        secp256k1_scalar a, r, z, a_by_s;
        unsigned char word[HASH] = {0};
        memcpy(word + HASH - COEFFICIENT, coefficients + COEFFICIENT * i, COEFFICIENT);
        secp256k1_scalar_set_b32(&a, word, NULL);
        secp256k1_scalar_mul(&a_by_s, &a, &inverses[i]);
        if (!read_number(&r, signatures) || !read_point(&terms->points[terms->count], signatures)) {
            return 0;
        }
        secp256k1_scalar_negate(&terms->factors[terms->count++], &a);
        if (key == NULL || memcmp(key, keys, KEY) != 0) {
            key = keys;
            of_key = &terms->factors[terms->count];
            *of_key = secp256k1_scalar_zero;
            if (!read_key(&terms->points[terms->count++], keys)) {
                return 0;
            }
        }
        secp256k1_scalar_mul(&r, &r, &a_by_s);
        secp256k1_scalar_add(of_key, of_key, &r);
        secp256k1_scalar_set_b32(&z, digests, NULL);
        secp256k1_scalar_mul(&z, &z, &a_by_s);
        secp256k1_scalar_add(of_g, of_g, &z);
    }
    return 1;
}

/* Who is not given memory says so by what it returns. */
static void out_of_memory(const char *text, void *data) {
    (void)text;
    (void)data;
}

static int is_zero(const sum_terms *terms, const secp256k1_scalar *of_g) {
    const int window = secp256k1_pippenger_bucket_window(terms->count);
    const size_t strauss = secp256k1_strauss_scratch_size(terms->count);
    const size_t pippenger = secp256k1_pippenger_scratch_size(terms->count, window);
    const size_t needed = terms->count < ECMULT_PIPPENGER_THRESHOLD && strauss > pippenger ? strauss : pippenger;
    const size_t aligned = ALIGNMENT * (PIPPENGER_SCRATCH_OBJECTS + STRAUSS_SCRATCH_OBJECTS);
    const secp256k1_callback callback = {out_of_memory, NULL};
    secp256k1_scratch *scratch = secp256k1_scratch_create(&callback, needed + aligned);
    secp256k1_gej sum;
    int done;
    if (scratch == NULL) {
        return -1;
    }
    done = secp256k1_ecmult_multi_var(&default_error_callback, scratch, &sum, of_g, term_of, (void *)terms,
                                      terms->count);
    secp256k1_scratch_destroy(&default_error_callback, scratch);
    return done ? secp256k1_gej_is_infinity(&sum) : -1;
}

/* Whether all signatures are valid: 1, 0, or -1 without memory. For each a digest of 32 bytes, a signature r, s, v of
 * 65, a key x, y of 64, and a random number of 16 that who made the signatures could not know. */
EXPORTED int nocust_are_valid(size_t count, const unsigned char *digests, const unsigned char *signatures,
                              const unsigned char *keys, const unsigned char *coefficients) {
    sum_terms terms = {malloc(2 * count * sizeof(secp256k1_scalar)), malloc(2 * count * sizeof(secp256k1_ge)), 0};
    secp256k1_scalar *inverses = malloc(count * sizeof(secp256k1_scalar));
    secp256k1_scalar of_g = secp256k1_scalar_zero;
    int valid = -1;
    if (terms.factors != NULL && terms.points != NULL && inverses != NULL) {
        valid = invert_all(inverses, count, signatures) &&
                collect(&terms, &of_g, inverses, count, digests, signatures, keys, coefficients);
        if (valid) {
            valid = is_zero(&terms, &of_g);
        }
    }
    free(terms.factors);
    free(terms.points);
    free(inverses);
    return valid;
}

/* What signing takes beside the key, blinded with 32 random bytes against who watches the processor; kept for good.
 * NULL if it cannot be had. */
EXPORTED void *nocust_start(const unsigned char *random) {
    secp256k1_context *context = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
    return context != NULL && secp256k1_context_randomize(context, random) ? context : NULL;
}

/* Signs digests of 32 bytes with a key of 32, r, s, v of 65 bytes each, with low s (RFC 6979): whether all are. */
EXPORTED int nocust_sign(const void *context, size_t count, const unsigned char *digests, const unsigned char *key,
                         unsigned char *signatures) {
    size_t i;
    for (i = 0; i < count; i++, digests += HASH, signatures += SIGNATURE) {
        secp256k1_ecdsa_recoverable_signature signature;
        int v;
        if (!secp256k1_ecdsa_sign_recoverable(context, &signature, digests, key, NULL, NULL) ||
            !secp256k1_ecdsa_recoverable_signature_serialize_compact(context, signatures, &v, &signature)) {
            return 0;
        }
        signatures[SIGNATURE - 1] = 27 + v;
    }
    return 1;
}
