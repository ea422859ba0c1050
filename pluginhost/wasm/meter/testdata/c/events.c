// What a plugin in C looks like to the meter: freestanding, one input buffer, loops over bytes. The tests compile it
// where a clang with the wasm32 target is found:
//
//	clang --target=wasm32 -O2 -nostdlib -mbulk-memory -Wl,--no-entry -o events.wasm events.c

#define EXPORT(name) __attribute__((export_name(#name)))

typedef unsigned char u8;
typedef unsigned int u32;

static u8 input[4096], output[4096];

EXPORT(buffer) u8 *buffer(void) { return input; }

// fnv hashes the first n bytes of the buffer.
EXPORT(fnv) u32 fnv(u32 n) {
	u32 h = 2166136261u;
	for (u32 i = 0; i < n; i++)
		h = (h ^ input[i]) * 16777619u;
	return h;
}

// matches says whether the Topic Filter in the first f bytes of the buffer matches the t bytes behind it.
EXPORT(matches) int matches(u32 f, u32 t) {
	const u8 *filter = input, *topic = input + f;
	u32 i = 0, j = 0;
	while (i < f) {
		if (filter[i] == '#')
			return 1;
		if (filter[i] == '+') {
			while (j < t && topic[j] != '/')
				j++;
			i++;
		} else {
			if (j >= t || filter[i] != topic[j])
				return 0;
			i++, j++;
		}
	}
	return j == t;
}

// mutate copies n bytes to the output, upper case, and returns a digest of them.
EXPORT(mutate) u32 mutate(u32 n) {
	__builtin_memcpy(output, input, n);
	u32 sum = 0;
	for (u32 i = 0; i < n; i++) {
		if (output[i] >= 'a' && output[i] <= 'z')
			output[i] -= 32;
		sum = sum * 31 + output[i];
	}
	__builtin_memset(input, 0, n);
	return sum;
}

// kind is a switch, which becomes a br_table.
EXPORT(kind) u32 kind(u32 packet) {
	switch (packet >> 4) {
	case 1: return fnv(4);
	case 3: return fnv(8) ^ (packet & 15);
	case 4: case 5: case 6: case 7: return packet * 3;
	case 8: return matches(8, packet & 15);
	case 10: return 7;
	case 12: return fnv(packet);
	case 14: return 11;
	}
	return ~0u;
}

EXPORT(spin) void spin(void) {
	for (volatile u32 i = 0;; i++)
		;
}
