/** The API's answers, as far as pages read them. The reference has them whole. */

export interface Task {
  id: string;
  name: string;
  version: string | null;
  title: string | null;
  project: string | null;
  tags: string[];
  notes: string | null;
  status: string;
  desired: string;
  attempt: number;
  message: string | null;
  progress: number;
  metrics: Record<string, number | null>;
  config: Record<string, unknown>;
  requirements: { min_gpu_memory: number; min_cpu_cores: number; min_ram: number };
  n_clients: number;
  priority: number;
  submitter: string;
  clients: string[];
  parent: string | null;
  from_checkpoint: string | null;
  created_at: string;
  updated_at: string;
  started_at: string | null;
  ended_at: string | null;
  summaries?: Summary[];
}

export interface Summary {
  name: string;
  last: number | null;
  min: number | null;
  max: number | null;
  best: number | null;
}

export interface Gpu {
  id: number;
  name: string;
  memory: { total: number; used: number };
  utilization?: number | null;
  temperature?: number | null;
  held?: boolean;
  processes?: { pid: number; user?: string | null; name?: string | null; memory?: number | null }[] | null;
}

export interface Token {
  id: string;
  name: string;
  role: string;
  client_id: string | null;
  label: string | null;
  created_at: string;
  expires_at: string | null;
  revoked_at: string | null;
}

export interface Package {
  name: string;
  version: string;
  kind: string;
  sha256: string;
  size: number;
  publisher: string;
  path: string;
  created_at: string;
  manifest?: {
    entry: string;
    requires?: string[];
    defaults?: Record<string, unknown>;
    origin?: { commit: string; dirty?: boolean } | null;
    data?: Record<string, { url: string }>;
    files: Record<string, string>;
  };
}

export interface Data {
  sha256: string;
  name: string;
  kind: string;
  size: number;
  putter: string;
  url: string;
  created_at: string;
}

export interface Client {
  id: string;
  status: string;
  speaks: string;
  hostname: string;
  agent_version: string;
  labels: Record<string, string>;
  resources: {
    cpu: { cores: number; usage: number };
    ram: { total: number; used: number };
    gpu: Gpu[];
  } | null;
  tasks: { id: string; status: string; progress: number; gpus: number[] }[];
  lends: boolean;
  drained: string | null;
  last_seen: string;
}
