# Ruby's pg: libpq with pipelines, prepared statements under names of the program's own.
require 'pg'

SERVICE = ENV.fetch('PGDATABASE')
ROWS = 100_000
LARGE = 20 * 1024 * 1024

def equal(found, expected)
  raise "#{found.inspect[0, 300]} in place of #{expected.inspect[0, 300]}" unless found == expected
end

def fails_with(sqlstate)
  yield
rescue PG::Error => e
  equal(e.result&.error_field(PG::Result::PG_DIAG_SQLSTATE), sqlstate)
else
  raise "no error #{sqlstate}"
end

def with(count = 1)
  all = Array.new(count) { PG.connect }
  yield(*all)
ensure
  all&.each(&:close)
end

CHECKS = {
  connect: -> { with { |c| equal(c.exec('SELECT service FROM who').values, [[SERVICE]]) } },
  parameters: lambda do
    with { |c| equal(c.exec_params('SELECT $1::int + 1, $2', [6, 'zwölf']).values, [%w[7 zwölf]]) }
  end,
  prepared: lambda do
    with(4) do |*all|
      all.each { |c| c.prepare('mine', 'SELECT service, $1::int FROM who') }
      25.times do |n|
        all.each { |c| equal(c.exec_prepared('mine', [n]).values, [[SERVICE, n.to_s]]) }
      end
      fails_with('42P05') { all[0].prepare('mine', 'SELECT 1') }
      equal(all[0].describe_prepared('mine').fields, %w[service int4])
      all[0].exec('DEALLOCATE mine')
      fails_with('26000') { all[0].exec_prepared('mine', [1]) }
    end
  end,
  transaction: lambda do
    with(2) do |c, other|
      c.exec('SET client_min_messages TO warning; DROP TABLE IF EXISTS t_ruby')
      c.exec('CREATE TABLE t_ruby (id int PRIMARY KEY, body text)')
      c.transaction { c.exec("INSERT INTO t_ruby VALUES (1, 'one')") }
      equal(other.exec('SELECT * FROM t_ruby').values, [%w[1 one]])
      begin
        c.transaction do
          c.exec("INSERT INTO t_ruby VALUES (2, 'two')")
          raise KeyError
        end
      rescue KeyError
        equal(other.exec('SELECT count(*) FROM t_ruby').getvalue(0, 0), '1')
      end
    end
  end,
  error_inside: lambda do
    with do |c|
      c.exec('BEGIN')
      c.exec("INSERT INTO t_ruby VALUES (3, 'three')")
      fails_with('22012') { c.exec_params('SELECT 1 / $1::int', [0]) }
      fails_with('25P02') { c.exec('SELECT 1') }
      equal(c.transaction_status, PG::PQTRANS_INERROR)
      c.exec('ROLLBACK')
      equal(c.exec('SELECT count(*) FROM t_ruby').getvalue(0, 0), '1')
    end
  end,
  sqlstates: lambda do
    with do |c|
      { 'SELECT * FROM nowhere' => '42P01', 'SELECT nothing' => '42703', 'SELEC' => '42601',
        'INSERT INTO t_ruby VALUES (1)' => '23505', "SELECT 'x'::int" => '22P02' }
        .each do |text, state|
          fails_with(state) { c.exec(text) }
          fails_with(state) { c.exec_params(text, []) }
        end
    end
  end,
  copy: lambda do
    with do |c|
      c.copy_data('COPY t_ruby FROM STDIN') do
        (10...5010).each { |n| c.put_copy_data("#{n}\trow\n") }
      end
      lines = []
      c.copy_data('COPY (SELECT id FROM t_ruby WHERE id >= 10 ORDER BY 1) TO STDOUT') do
        while (line = c.get_copy_data)
          lines << line.to_i
        end
      end
      equal(lines, (10...5010).to_a)
      fails_with('22P02') { c.copy_data('COPY t_ruby FROM STDIN') { c.put_copy_data("x\ty\n") } }
      equal(c.exec('SELECT 1').getvalue(0, 0), '1')
    end
  end,
  cancel: lambda do
    with do |c|
      5.times do
        c.send_query('SELECT pg_sleep(60)')
        # It may not run yet when the request comes: until it has ended.
        while c.is_busy
          c.cancel
          c.block(0.05)
        end
        fails_with('57014') { c.get_last_result }
        equal(c.exec('SELECT 7').getvalue(0, 0), '7')
      end
    end
  end,
  pipeline: lambda do
    with do |c|
      c.enter_pipeline_mode
      10.times do |round|
        20.times { |n| c.send_query_params('SELECT $1::int / $2::int', [n, round == 5 ? n : 1]) }
        c.pipeline_sync
      end
      10.times do |round|
        found = Array.new(20) do
          result = c.get_result
          equal(c.get_result, nil)
          result.result_status == PG::PGRES_TUPLES_OK ? result.getvalue(0, 0).to_i : :failed
        end
        equal(found, round == 5 ? [:failed] * 20 : (0...20).to_a)
        equal(c.get_result.result_status, PG::PGRES_PIPELINE_SYNC)
      end
      c.exit_pipeline_mode
      equal(c.exec('SELECT 1').getvalue(0, 0), '1')
    end
  end,
  large_result: lambda do
    with do |c|
      equal(c.exec("SELECT n FROM generate_series(1, #{ROWS}) n").column_values(0).sum(&:to_i),
            ROWS * (ROWS + 1) / 2)
      c.send_query("SELECT n FROM generate_series(1, #{ROWS}) n")
      c.set_single_row_mode
      sum = 0
      c.get_result.stream_each_row { |row| sum += row[0].to_i }
      equal(sum, ROWS * (ROWS + 1) / 2)
    end
  end,
  large_value: lambda do
    with do |c|
      equal(c.exec("SELECT repeat('x', #{LARGE})").getvalue(0, 0).size, LARGE)
      equal(c.exec_params('SELECT length($1)', ['x' * LARGE]).getvalue(0, 0), LARGE.to_s)
    end
  end,
  reconnect: lambda do
    with do |c|
      10.times do |n|
        c.prepare('again', 'SELECT $1::int')
        equal(c.exec_prepared('again', [n]).getvalue(0, 0), n.to_s)
        c.reset
      end
    end
  end
}.freeze

good = CHECKS.map do |name, check|
  check.call
  puts "ok #{name}"
  true
rescue StandardError => e
  puts "FAIL #{name}: #{e.class}: #{e.message} #{e.backtrace[0..2]}".tr("\n", '|')
  false
end
exit(good.all? ? 0 : 1)
