/**
 * Looks into a running broker and breaks it from the inside, through its Erlang.
 */
import * as Effect from "effect/Effect"
import * as ErlangShell from "./ErlangShell.ts"
import * as NodeConfiguration from "./NodeConfiguration.ts"
import { RabbitMqError } from "./RabbitMqError.ts"

/**
 * The levers of a running node.
 */
export interface BrokerLevers {
  /**
   * Evaluates Erlang expressions, separated by commas and without the final full stop, and gives the value of the last
   * one as Erlang prints it.
   */
  readonly evalErlang: (expressions: string) => Effect.Effect<string, RabbitMqError>
  /** Closes every connection as an operator would: clients see 320 with this text. */
  readonly closeAllConnections: (text: string) => Effect.Effect<void, RabbitMqError>
  /** Kills the broker's end of every connection: clients see a reset. */
  readonly killAllConnections: Effect.Effect<void, RabbitMqError>
  /** Raises the alarm, which blocks publishing clients. */
  readonly setMemoryAlarm: Effect.Effect<void, RabbitMqError>
  readonly clearMemoryAlarm: Effect.Effect<void, RabbitMqError>
  readonly setDiskAlarm: Effect.Effect<void, RabbitMqError>
  readonly clearDiskAlarm: Effect.Effect<void, RabbitMqError>
  /**
   * Counts everything that clients can leave behind, over the whole cluster. Compare the counts before and after to
   * find a leak.
   */
  readonly counts: Effect.Effect<BrokerCounts, RabbitMqError>
  /** Counts one queue's messages and consumers; fails when there is no such queue. */
  readonly queueDepth: (name: string, vhost?: string) => Effect.Effect<QueueDepth, RabbitMqError>
  /** Adds a virtual host in which `guest` may do everything. */
  readonly addVhost: (name: string) => Effect.Effect<void, RabbitMqError>
  readonly deleteVhost: (name: string) => Effect.Effect<void, RabbitMqError>
  /** Adds a user who may do nothing yet. */
  readonly addUser: (name: string, password: string) => Effect.Effect<void, RabbitMqError>
  readonly deleteUser: (name: string) => Effect.Effect<void, RabbitMqError>
  /** Sets the permissions of a user in a virtual host. A missing pattern allows everything. */
  readonly setPermissions: (
    user: string,
    vhost: string,
    patterns?: Permissions
  ) => Effect.Effect<void, RabbitMqError>
  /** Changes limits of the running node. The limits hold for new channels, until the node restarts. */
  readonly setLimits: (limits: NodeConfiguration.Limits) => Effect.Effect<void, RabbitMqError>
}

/**
 * The counts of this moment, over all virtual hosts.
 */
export interface BrokerCounts {
  readonly connections: number
  readonly channels: number
  readonly queues: number
  readonly consumers: number
  readonly messagesReady: number
  /** Also those that quorum queues are dead-lettering at least once. */
  readonly messagesUnacked: number
}

/**
 * The counts of one queue at this moment.
 */
export interface QueueDepth {
  readonly ready: number
  /** Also those that a quorum queue is dead-lettering at least once. */
  readonly unacked: number
  readonly consumers: number
}

/**
 * Regular expressions over the names of queues and exchanges.
 */
export interface Permissions {
  readonly configure?: string | undefined
  readonly write?: string | undefined
  readonly read?: string | undefined
}

/**
 * The levers of the node at an address.
 */
export const make = (address: ErlangShell.Address): BrokerLevers => {
  const evalErlang = (expressions: string) => ErlangShell.evaluate(address, expressions)
  const command = (expressions: string) => Effect.asVoid(evalErlang(expressions))
  const numbers = (expressions: string) =>
    evalErlang(expressions).pipe(
      Effect.flatMap((printed) =>
        /^\{\d+(?:,\d+)*\}$/.test(printed)
          ? Effect.succeed(printed.slice(1, -1).split(",").map(Number))
          : Effect.fail(new RabbitMqError({ message: `The node gave ${printed} where numbers were expected` }))
      )
    )
  const { binary } = ErlangShell

  return {
    evalErlang,
    closeAllConnections: (text) => command(`rabbit_networking:close_all_connections(${binary(text)})`),
    killAllConnections: command("[exit(Pid, kill) || Pid <- rabbit_networking:connections()]"),
    setMemoryAlarm: command(setAlarm("memory")),
    clearMemoryAlarm: command(`rabbit_alarm:clear_alarm(${alarm("memory")})`),
    setDiskAlarm: command(setAlarm("disk")),
    clearDiskAlarm: command(`rabbit_alarm:clear_alarm(${alarm("disk")})`),
    counts: numbers(`${countQueue},
      Depths = [Count(Queue) || Queue <- rabbit_amqqueue:list()],
      Sum = fun(Position) -> lists:sum([element(Position, Depth) || Depth <- Depths]) end,
      {length(rabbit_networking:connections()), length(rabbit_channel:list()), length(Depths),
       Sum(3), Sum(1), Sum(2)}`).pipe(
      Effect.map(([connections, channels, queues, consumers, messagesReady, messagesUnacked]) => ({
        connections: connections ?? 0,
        channels: channels ?? 0,
        queues: queues ?? 0,
        consumers: consumers ?? 0,
        messagesReady: messagesReady ?? 0,
        messagesUnacked: messagesUnacked ?? 0
      }))
    ),
    queueDepth: (name, vhost = "/") =>
      numbers(`${countQueue},
        {ok, Queue} = rabbit_amqqueue:lookup(rabbit_misc:r(${binary(vhost)}, queue, ${binary(name)})),
        Count(Queue)`).pipe(
        Effect.map(([ready, unacked, consumers]) => ({
          ready: ready ?? 0,
          unacked: unacked ?? 0,
          consumers: consumers ?? 0
        }))
      ),
    addVhost: (name) =>
      command(`rabbit_vhost:add(${binary(name)}, ${binary("test-rig")}), ${permit("guest", name, {})}`),
    deleteVhost: (name) => command(`rabbit_vhost:delete(${binary(name)}, ${binary("test-rig")})`),
    addUser: (name, password) =>
      command(
        `ok = rabbit_auth_backend_internal:add_user(${binary(name)}, ${binary(password)}, ${binary("test-rig")})`
      ),
    deleteUser: (name) => command(`rabbit_auth_backend_internal:delete_user(${binary(name)}, ${binary("test-rig")})`),
    setPermissions: (user, vhost, patterns = {}) => command(permit(user, vhost, patterns)),
    setLimits: (limits) => command([...NodeConfiguration.limitSettings(limits).map(setLimit), "ok"].join(", "))
  }
}

// Some versions copy a limit aside when they boot, and read only the copy.
const setLimit = ([key, value]: readonly [key: string, value: number]): string =>
  `application:set_env(rabbit, ${key}, ${value}), persistent_term:put(${key}, ${value})`

const alarm = (resource: "memory" | "disk"): string => `{resource_limit, ${resource}, node()}`

// The alarm's process tells the connections after it has answered. The next questions are answered after that.
const setAlarm = (resource: "memory" | "disk"): string =>
  `rabbit_alarm:set_alarm({${alarm(resource)}, []}),
    rabbit_alarm:get_alarms(),
    [catch rabbit_reader:info(Pid, [pid]) || Pid <- rabbit_networking:connections()]`

const permit = (user: string, vhost: string, patterns: Permissions): string =>
  `ok = rabbit_auth_backend_internal:set_permissions(${
    [user, vhost, patterns.configure ?? ".*", patterns.write ?? ".*", patterns.read ?? ".*", "test-rig"]
      .map(ErlangShell.binary)
      .join(", ")
  })`

// `rabbit_amqqueue:stat` is exact for every type of queue. Unacknowledged messages of a quorum queue are known to
// `info` only every 5 seconds, so its own state is asked, which after a restart takes a moment to be there again. Nothing
// else counts what it is dead-lettering at least once, which may take it 3 minutes after a restart.
const countQueue = `CheckedOut = fun Ask(_, 0) -> error(quorum_queue_has_no_state);
      Ask(Server, Attempts) ->
        case ra:local_query(Server, fun rabbit_fifo:overview/1) of
          {ok, {_, #{num_checked_out := Number} = Overview}, _} ->
            Number + maps:get(num_discarded, Overview, 0) + maps:get(num_discard_checked_out, Overview, 0);
          _ -> timer:sleep(50), Ask(Server, Attempts - 1)
        end
    end,
    Count = fun(Queue) ->
      Unacked = case amqqueue:get_type(Queue) of
        rabbit_quorum_queue -> CheckedOut({element(1, amqqueue:get_pid(Queue)), node()}, 200);
        _ -> proplists:get_value(messages_unacknowledged, rabbit_amqqueue:info(Queue, [messages_unacknowledged]), 0)
      end,
      {ok, Ready, Consumers} = rabbit_amqqueue:stat(Queue),
      {Ready, Unacked, Consumers}
    end`
