#requires -Version 5.1
#requires -Modules @{ ModuleName = 'Pester'; ModuleVersion = '5.0.0' }
<#
    What only a real PowerShell can say of the scripts: that its own parser takes them, that every command they call exists
    once their modules are imported, and that they answer on the wire when the Hyper-V role is absent.
#>
BeforeDiscovery {
    $folder = [System.IO.Path]::GetFullPath([System.IO.Path]::Combine($PSScriptRoot, '..', '..', 'lib', 'agent', 'powershell', 'scripts'))
    $script:Files = @(Get-ChildItem -LiteralPath $folder -Recurse -File | Where-Object { $_.Extension -in '.ps1', '.psm1' } | ForEach-Object { @{ Name = $_.Name; Path = $_.FullName } })
    $script:Verbs = @($script:Files | Where-Object { $_.Path -like '*.ps1' })
}

Describe 'every script' {
    It 'is taken by the parser of this PowerShell: <Name>' -ForEach $script:Files {
        $tokens = $null
        $errors = $null
        [void][System.Management.Automation.Language.Parser]::ParseFile($Path, [ref]$tokens, [ref]$errors)
        @($errors).Count | Should -Be 0 -Because (($errors | ForEach-Object { $_.Message }) -join '; ')
    }

    It 'has an approved verb: <Name>' -ForEach $script:Verbs {
        $verb = [System.IO.Path]::GetFileNameWithoutExtension($Name).Split('-')[0]
        @(Get-Verb | ForEach-Object { $_.Verb }) | Should -Contain $verb
    }

    It 'answers on one line even when there is no Hyper-V: <Name>' -ForEach $script:Verbs {
        $settings = @{
            namespace = 'root\gcb\absent'; collectionNamespace = 'root\gcb\absent'; stateDirectory = [string]$TestDrive
            callTimeoutMs = 1000; settleMs = 0; guestQueryTimeoutMs = 1000; vhdSetOrder = 'leaf-first'; checkFolderRights = $false
            collectionSnapshotType = 2; vmSnapshotType = 32768; ignoreNonSnapshottableDisks = $false; guestBackupType = 'copy'
            changeChunkBytes = 1048576
        }
        $request = @{
            settings = $settings; vmIds = @('11111111-1111-4111-8111-111111111111'); vmId = '11111111-1111-4111-8111-111111111111'
            name = 'n'; collectionId = 'c'; tag = 'pester'; consistency = 'application'; deadlineMs = 1000
            snapshotCollectionId = 's'; referencePointCollectionId = 'r'; mergeTimeoutMs = 1000; path = 'C:\absent\a.vhds'
            paths = @('C:\absent\a.vhds'); limitId = 'l'; targetSnapshotId = ''; offsetBytes = 0; lengthBytes = 4096
            maximumRanges = 10; volumes = @(); volume = @{ directory = 'Q:\'; deviceId = 'Q:\absent' }; scriptText = 'reset'
            timeoutMs = 30000; shadowIds = @(); snapshotId = 's'; snapshotPath = 'p'; rctId = 'r'; keepReference = $true
            checkpointId = 'c'; targetDirectory = [string]$TestDrive; directory = [string]$TestDrive; neededBytes = 1; shared = $false
            configurationPath = 'C:\absent\a.vmcx'; snapshotDirectory = 'C:\absent'; newId = $true; disks = @()
        }
        $json = ConvertTo-Json -InputObject $request -Depth 8 -Compress
        $payload = [System.Convert]::ToBase64String([System.Text.Encoding]::UTF8.GetBytes($json))
        $executable = (Get-Process -Id $PID).Path
        $output = & $executable -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $Path -Payload $payload -Call 'ab12'
        $lines = @($output | Where-Object { $_ -like '{"call":"ab12",*' })
        $lines.Count | Should -Be 1
        $answer = ConvertFrom-Json -InputObject $lines[0]
        if (-not $answer.ok) {
            $answer.error.message | Should -Not -BeNullOrEmpty
            # A name or a field that does not exist would be a defect of the script, not of the host.
            $answer.error.subject | Should -Not -Match 'CommandNotFoundException|VariableIsUndefined|PropertyNotFoundStrict|ParameterArgumentTransformationError|NamedParameterNotFound|MissingMandatoryParameter'
        }
    }
}
