/**
 * Users, passwords and permissions.
 */
import * as Redacted from "effect/Redacted"
import type { Dialect } from "./brokerVersion.ts"
import type { Destination } from "./exchange.ts"
import { accessRefused, named } from "./replyFault.ts"

export type Permission = "configure" | "write" | "read"

/**
 * Patterns of the names that a user may configure, write to and read from, in one virtual host.
 *
 * @category models
 * @since 0.1.0
 */
export interface Permissions {
  readonly configure: RegExp
  readonly write: RegExp
  readonly read: RegExp
}

/** Permissions for everything. */
export const everything: Permissions = { configure: /.*/, write: /.*/, read: /.*/ }

interface User {
  readonly password: Redacted.Redacted<string>
  readonly permissions: Map<string, Permissions>
}

export class Accounts {
  readonly #users = new Map<string, User>()
  readonly #dialect: Dialect

  constructor(dialect: Dialect) {
    this.#dialect = dialect
  }

  /** Adds a user, or changes the password of a user. */
  add(name: string, password: Redacted.Redacted<string>): void {
    this.#users.set(name, { password, permissions: this.#users.get(name)?.permissions ?? new Map() })
  }

  permit(name: string, vhost: string, permissions: Permissions): void {
    this.#users.get(name)?.permissions.set(vhost, permissions)
  }

  remove(name: string): void {
    this.#users.delete(name)
  }

  authenticates(name: string, password: Redacted.Redacted<string>): boolean {
    const user = this.#users.get(name)
    return user !== undefined && Redacted.value(user.password) === Redacted.value(password)
  }

  mayUse(name: string, vhost: string): boolean {
    return this.#users.get(name)?.permissions.has(vhost) === true
  }

  assert(user: string, vhost: string, permission: Permission, kind: Destination["kind"], name: string): void {
    const pattern = this.#users.get(user)?.permissions.get(vhost)?.[permission]
    // RabbitMQ checks the default exchange under this name.
    const checked = kind === "exchange" && name === "" ? "amq.default" : name
    if (pattern?.test(checked) === true) return
    const access = this.#dialect.namesPermission ? `${permission} access` : "access"
    throw accessRefused(`${access} to ${named(kind, checked, vhost)} refused for user '${user}'`)
  }
}
