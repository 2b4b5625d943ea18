/* SPDX-License-Identifier: MIT */
/*
 * The classroom's menu program: 16-bit addresses, 4 KiB pages, one table each
 * of pages, frames, shadow and nested frames. Shadow and nested frames come
 * from counters of their own (from 5, from 7), as in that program; everywhere
 * else in Quire a shadow entry is the composition of guest and host.
 *
 * An address is "0xPxxx": P is the page, and mapping puts a frame's number in
 * its place. From frame 16 on that takes two digits, where that program printed
 * a character that is none.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { CLASSIC_TABLE_MAX = 4096, CLASSIC_WORD = 64, ADDRESS_CHARS = 6, FRAME_CHARS = 16, OLD_ROWS = 16, FIRST_SHADOW = 5, FIRST_NESTED = 7 };

struct classic_row {
	char pid;
	char address[FRAME_CHARS];
};

struct classic_table {
	struct classic_row *row;
	unsigned n;
	unsigned next_frame;
};

struct classic {
	FILE *in, *out;
	struct classic_table pages, frames, shadow, nested;
	bool ended; /* the input did */
};

/* ---- input: words, as that program read them ---- */

/* False at the end of the input. A longer word is cut. */
static bool read_word(struct classic *c, char word[CLASSIC_WORD])
{
	size_t n = 0;
	int ch;

	do
		ch = getc(c->in);
	while (ch != EOF && isspace(ch));
	for (; ch != EOF && !isspace(ch); ch = getc(c->in))
		if (n < CLASSIC_WORD - 1)
			word[n++] = (char)ch;
	word[n] = '\0';
	c->ended = n == 0;
	return n != 0;
}

static bool is_number(const char *s)
{
	if (!*s || strlen(s) > 9)
		return false;
	for (; *s; s++)
		if (!isdigit((unsigned char)*s))
			return false;
	return true;
}

static bool is_address(const char *s)
{
	if (strlen(s) != ADDRESS_CHARS || s[0] != '0' || (s[1] != 'x' && s[1] != 'X'))
		return false;
	for (s += 2; *s; s++)
		if (!isxdigit((unsigned char)*s))
			return false;
	return true;
}

/* Asks until the answer is good; false at the end of the input. */
static bool ask_process(struct classic *c, const char *prompt, char *pid)
{
	char word[CLASSIC_WORD];

	for (;;) {
		fputs(prompt, c->out);
		if (!read_word(c, word))
			return false;
		if (is_number(word) && strlen(word) == 1) {
			*pid = word[0];
			return true;
		}
		fprintf(c->out, "'%s' is no process id: give one digit, 0 to 9\n", word);
	}
}

static bool ask_address(struct classic *c, char address[ADDRESS_CHARS + 1])
{
	char word[CLASSIC_WORD];

	for (;;) {
		fputs("Enter the virtual address\n", c->out);
		if (!read_word(c, word))
			return false;
		if (is_address(word)) {
			memcpy(address, word, ADDRESS_CHARS + 1);
			return true;
		}
		fprintf(c->out, "'%s' is no 16-bit address: give four hexadecimal digits, as 0x1234\n", word);
	}
}

/* ---- tables ---- */

/* The next frame's number in the place of the page's. */
static void put_frame(struct classic *c, struct classic_table *t, char pid, const char *address, const char *what)
{
	struct classic_row *row = &t->row[t->n++];
	unsigned frame = t->next_frame++;

	row->pid = pid;
	snprintf(row->address, sizeof(row->address), "0x%X%.3s", frame, address + 3);
	if (frame == 16)
		fprintf(c->out, "%s frame 16 takes two digits (0x10): the old program printed a wrong one from here on\n", what);
}

static void put_page(struct classic *c, char pid, const char *address)
{
	struct classic_row *row = &c->pages.row[c->pages.n++];

	row->pid = pid;
	memcpy(row->address, address, ADDRESS_CHARS + 1);
	if (c->pages.n == OLD_ROWS + 1)
		fprintf(c->out, "This is the 17th page: the old program's tables have 16 rows and it crashed here; these go on\n");
}

static bool has_room(struct classic *c, const struct classic_table *t)
{
	if (t->n < CLASSIC_TABLE_MAX)
		return true;
	fprintf(c->out, "The table is full at %d rows; nothing was added\n", CLASSIC_TABLE_MAX);
	return false;
}

static void map_page(struct classic *c)
{
	char pid, address[ADDRESS_CHARS + 1];

	if (!ask_process(c, "Enter the process id (Less than 10) - \n", &pid) || !ask_address(c, address) ||
	    !has_room(c, &c->pages))
		return;
	put_page(c, pid, address);
	put_frame(c, &c->frames, pid, address, "The");
	put_frame(c, &c->nested, pid, address, "Nested");
}

static const struct classic_row *find_row(const struct classic *c, char pid, const char *address)
{
	for (unsigned i = 0; i < c->pages.n; i++)
		if (c->pages.row[i].pid == pid && strcmp(c->pages.row[i].address, address) == 0)
			return &c->frames.row[i];
	return NULL;
}

static void find_page(struct classic *c)
{
	char pid, address[ADDRESS_CHARS + 1];
	const struct classic_row *frame;

	if (!ask_process(c, "Enter the process id - \n", &pid) || !ask_address(c, address))
		return;
	frame = find_row(c, pid, address);
	if (frame) {
		fprintf(c->out, "Page Hit\nShadow frame will be made\n\nPhysical Address is \n%s\n", frame->address);
		if (has_room(c, &c->shadow))
			put_frame(c, &c->shadow, pid, address, "Shadow");
		return;
	}
	fprintf(c->out, "Page Fault, page will be mapped\n");
	if (!has_room(c, &c->pages))
		return;
	put_page(c, pid, address);
	put_frame(c, &c->frames, pid, address, "The");
}

static void show(const struct classic *c, const struct classic_table *t, const char *title, const char *column)
{
	fprintf(c->out, "%s\nPid \t %s\n", title, column);
	for (unsigned i = 0; i < t->n; i++)
		fprintf(c->out, "%c \t %s\n", t->row[i].pid, t->row[i].address);
}

/* ---- the menu ---- */

static const char menu[] =
	"\n1.Map an address\n2.Find page\n3.Display Page Table\n4.Display Frame Table\n"
	"5.Display Shadow Table\n6.Display Nested Table\n7.Exit\n\nEnter the option\n";

/* False: exit was chosen. */
static bool do_option(struct classic *c, const char *word)
{
	switch (strlen(word) == 1 ? word[0] : '\0') {
	case '1':
		map_page(c);
		return true;
	case '2':
		find_page(c);
		return true;
	case '3':
		show(c, &c->pages, "", "Virtual Page Number");
		return true;
	case '4':
		show(c, &c->frames, "", "Frame Number");
		return true;
	case '5':
		show(c, &c->shadow, "\nShadow Table", "Frame Number");
		return true;
	case '6':
		show(c, &c->nested, "\nNested Table", "Frame Number");
		return true;
	case '7':
		return false;
	default:
		fprintf(c->out, "'%s' is no option: give a number from 1 to 7\n", word);
		return true;
	}
}

static bool wants_more(struct classic *c)
{
	char word[CLASSIC_WORD];

	for (;;) {
		fputs("\nDo you want to continue?(Y/N or y/n): ", c->out);
		if (!read_word(c, word))
			return false;
		if (strcmp(word, "y") == 0 || strcmp(word, "Y") == 0)
			return true;
		if (strcmp(word, "n") == 0 || strcmp(word, "N") == 0)
			return false;
		fprintf(c->out, "'%s' is no answer: give y or n\n", word);
	}
}

static void run_session(struct classic *c)
{
	char word[CLASSIC_WORD];

	do {
		fputs("Enter number of processes ", c->out);
		if (!read_word(c, word))
			return;
		if (!is_number(word))
			fprintf(c->out, "\n'%s' is no number of processes: give digits, as 3\n", word);
	} while (!is_number(word));
	fputs("\nSize of virtual address = 16 bits(For each process)\nSize of page = 4Kb\n", c->out);
	do {
		fputs(menu, c->out);
		if (!read_word(c, word) || !do_option(c, word) || c->ended)
			return;
		fflush(c->out);
	} while (wants_more(c));
}

int classic_session(FILE *in, FILE *out)
{
	struct classic_row *rows = calloc(4 * CLASSIC_TABLE_MAX, sizeof(*rows));
	struct classic c = { .in = in, .out = out };

	if (!rows)
		return complain_usage("no memory on this host");
	c.pages.row = rows;
	c.frames.row = rows + CLASSIC_TABLE_MAX;
	c.shadow.row = rows + 2 * CLASSIC_TABLE_MAX;
	c.nested.row = rows + 3 * CLASSIC_TABLE_MAX;
	c.shadow.next_frame = FIRST_SHADOW;
	c.nested.next_frame = FIRST_NESTED;
	run_session(&c);
	if (c.ended)
		fputc('\n', out);
	free(rows);
	return 0;
}

int command_shell(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		puts("usage: quire shell --classic\n\nThe classroom's menu program: map, find and show pages of 16-bit addresses.");
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "--classic") == 0)
		return classic_session(stdin, stdout);
	if (argc > 1)
		return complain_usage("shell takes --classic, not '%.60s'", argv[argc > 2 ? 2 : 1]);
	return complain_usage("the shell is not built yet but for 'quire shell --classic'");
}
