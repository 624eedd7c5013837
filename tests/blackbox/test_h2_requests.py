# SPDX-License-Identifier: MIT
"""RFC 9113 §6.10, §8 and RFC 7541 in raw frames, rule by rule: heads over several frames, what a request may say, and how fields
are packed."""
from h2case import *


# ---- §6.10: CONTINUATION ----

@case()
def a_head_in_several_frames_is_one(c):
    b = block(head() + [('a', 'b'), ('c', 'd')])
    c.send(frame(HEADERS, END_STREAM, 1, b[:10]), frame(CONTINUATION, 0, 1, b[10:30]), frame(CONTINUATION, 0, 1),
           frame(CONTINUATION, END_HEADERS, 1, b[30:]))
    check_eq(c.answer(1).status, 200)


@case()
def a_continuation_behind_the_end_of_a_head_is_refused(c):
    open_post(c)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block([('x', 'y')])))
    c.refused(PROTOCOL_ERROR)


@case()
def a_continuation_of_stream_zero_is_refused(c):
    c.send(frame(HEADERS, END_STREAM, 1, block(head())), frame(CONTINUATION, END_HEADERS, 0, b''))
    c.refused(PROTOCOL_ERROR)


@case()
def data_inside_of_a_head_is_refused(c):
    c.send(frame(HEADERS, 0, 1, block(post_head())), frame(DATA, END_STREAM, 1, b'x'))
    c.refused(PROTOCOL_ERROR)


@case()
def a_continuation_behind_data_is_refused(c):
    open_post(c)
    c.send(frame(DATA, 0, 1, b'x'), frame(CONTINUATION, END_HEADERS, 1, b''))
    c.refused(PROTOCOL_ERROR)


# ---- §8: requests ----

def malformed(name, fields, flags=END_STREAM | END_HEADERS):
    def run(c):
        c.headers(1, fields, flags)
        c.refused_stream(1, PROTOCOL_ERROR)
    run.__name__ = name
    case()(run)


malformed('an_upper_case_name_is_refused', head() + [('X-TEST', 'ok')])
malformed('an_unknown_pseudo_field_is_refused', [(':test', 'x')] + head())
malformed('a_status_in_a_request_is_refused', head() + [(':status', '200')])
malformed('a_pseudo_field_behind_others_is_refused', [(':method', 'GET'), (':scheme', 'http'), ('x', 'y'), (':path', '/')])
malformed('a_connection_field_is_refused', head() + [('connection', 'keep-alive')])
malformed('a_keep_alive_field_is_refused', head() + [('keep-alive', '1')])
malformed('an_upgrade_field_is_refused', head() + [('upgrade', 'h2c')])
malformed('a_proxy_connection_field_is_refused', head() + [('proxy-connection', 'close')])
malformed('a_transfer_encoding_is_refused', head('POST', JOBS, ('transfer-encoding', 'chunked')))
malformed('te_other_than_trailers_is_refused', head() + [('te', 'trailers, deflate')])
malformed('an_empty_path_is_refused', head(path=''))
malformed('a_head_without_method_is_refused', [(':scheme', 'http'), (':path', '/'), (':authority', 'x')])
malformed('a_head_without_scheme_is_refused', [(':method', 'GET'), (':path', '/'), (':authority', 'x')])
malformed('a_head_without_path_is_refused', [(':method', 'GET'), (':scheme', 'http'), (':authority', 'x')])
malformed('two_methods_are_refused', [(':method', 'GET')] + head())
malformed('two_schemes_are_refused', [(':scheme', 'http')] + head())
malformed('two_paths_are_refused', [(':path', '/')] + head())
malformed('a_newline_in_a_value_is_refused', head() + [('x', 'a\nb')])
malformed('a_nul_in_a_value_is_refused', head() + [('x', 'a\0b')])
malformed('a_space_before_a_value_is_refused', head() + [('x', ' b')])
malformed('a_colon_in_a_name_is_refused', head() + [('x:y', 'b')])
malformed('an_empty_name_is_refused', head() + [('', 'b')])
malformed('two_lengths_are_refused', head('POST', JOBS, ('content-length', '1'), ('content-length', '2')))
malformed('a_length_that_is_no_number_is_refused', head('POST', JOBS, ('content-length', '1x')))


@case()
def te_trailers_is_taken(c):
    c.request(1, 'GET', '/healthz', ('te', 'trailers'))
    check_eq(c.answer(1).status, 200)


@case()
def a_second_head_without_an_end_is_refused(c):
    open_post(c)
    c.headers(1, [('x', 'y')], END_HEADERS)
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def trailers_behind_a_body_are_taken(c):
    open_post(c)
    c.send(frame(DATA, 0, 1, b'payload'))
    c.headers(1, [('x-checksum', '1')])
    check_eq(c.answer(1).status, 202)


@case()
def a_pseudo_field_in_trailers_is_refused(c):
    open_post(c)
    c.send(frame(DATA, 0, 1, b'payload'))
    c.headers(1, [(':method', 'GET')])
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def less_data_than_the_length_says_is_refused(c):
    c.request(1, 'POST', JOBS, ('content-length', '5'), body=b'four')
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def more_data_than_the_length_says_is_refused(c):
    c.headers(1, post_head(('content-length', '5')), END_HEADERS)
    c.send(frame(DATA, 0, 1, b'123'), frame(DATA, END_STREAM, 1, b'456'))
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def a_length_without_data_is_refused(c):
    c.headers(1, post_head(('content-length', '5')))
    c.refused_stream(1, PROTOCOL_ERROR)


@case()
def connect_is_not_implemented(c):
    c.headers(1, [(':method', 'CONNECT'), (':authority', 'localhost:1')])
    a = c.answer(1)
    check(a.status in (400, 501) or a.reset is not None, a)


@case()
def a_foreign_host_beside_the_authority_is_refused(c):
    c.request(1, 'GET', '/healthz', ('host', 'elsewhere'))
    check_eq(c.answer(1).status, 400)


@case()
def a_host_without_an_authority_will_do(c):
    c.headers(1, [(':method', 'GET'), (':scheme', 'http'), (':path', '/healthz'), ('host', 'localhost')])
    check_eq(c.answer(1).status, 200)


@case()
def neither_host_nor_authority_is_refused(c):
    c.headers(1, [(':method', 'GET'), (':scheme', 'http'), (':path', '/healthz')])
    a = c.answer(1)
    check(a.status == 400 or a.reset == PROTOCOL_ERROR, a)


@case()
def head_gets_a_head(c):
    c.request(1, 'HEAD', '/healthz')
    a = c.answer(1)
    check_eq((a.status, a.body, a.header('content-length')), (200, b'', '3'))
    check(not any(f.type == DATA for f in c.log if f.stream == 1), c.log)


@case()
def too_long_a_head_is_told_so(c):
    b = block(head() + [('x' + str(i), 'y' * 1000) for i in range(40)])
    c.send(frame(HEADERS, END_STREAM, 1, b[:16000]), frame(CONTINUATION, 0, 1, b[16000:32000]),
           frame(CONTINUATION, END_HEADERS, 1, b[32000:]))
    check_eq(c.answer(1).status, 431)


@case()
def too_many_fields_are_told_so(c):
    c.request(1, 'GET', '/healthz', *[(f'x{i}', 'y') for i in range(101)])
    check_eq(c.answer(1).status, 431)


@case()
def too_long_a_body_is_told_so_before_it_comes(c):
    c.headers(1, post_head(('content-length', str(2 << 20))), END_HEADERS)
    a = c.answer(1)
    check_eq(a.status, 413)
    c.wait(lambda: a.reset is not None)
    check_eq(a.reset, NO_ERROR)


@case()
def expect_gets_100_and_then_its_answer(c):
    c.headers(1, post_head(('expect', '100-continue'), ('content-length', '2')), END_HEADERS)
    c.wait(lambda: 1 in c.answers and c.answers[1].interim)
    check_eq(dict(c.answers[1].interim[0])[':status'], '100')
    c.send(frame(DATA, END_STREAM, 1, b'ok'))
    check_eq(c.answer(1).status, 202)


# ---- RFC 7541 ----

@case()
def an_index_outside_of_the_tables_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, number(126, 7, 0x80) + block(head())))
    c.refused(COMPRESSION_ERROR)


@case()
def index_zero_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, b'\x80'))
    c.refused(COMPRESSION_ERROR)


@case()
def a_table_size_inside_of_a_block_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block(head()) + b'\x20'))
    c.refused(COMPRESSION_ERROR)


@case()
def a_table_larger_than_allowed_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, number(4097, 5, 0x20) + block(head())))
    c.refused(COMPRESSION_ERROR)


def huffman(name, value):
    def run(c):
        c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block(head()) + b'\x00\x01x' + value))
        c.refused(COMPRESSION_ERROR)
    run.__name__ = name
    case()(run)


huffman('huffman_padding_of_a_byte_is_refused', b'\x84\x49\x50\x9f\xff')
huffman('huffman_padding_of_zeros_is_refused', b'\x83\x49\x50\x90')
huffman('huffman_eos_in_a_string_is_refused', b'\x87\x49\x51\xff\xff\xff\xfa\x7f')


@case()
def an_integer_without_end_is_refused(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, b'\xff' + b'\xff' * 12 + b'\x01'))
    c.refused(COMPRESSION_ERROR)


if __name__ == '__main__':
    run_cases()
